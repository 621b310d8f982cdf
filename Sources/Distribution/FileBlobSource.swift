// SPDX-License-Identifier: Apache-2.0

import Content
import Linux

/// A regular file's bytes by ranges.
///
/// The file stays open while there are descriptors for it: a layout that is removed meanwhile is
/// still read then. Else it is opened again; that it is the same file is for the digests of what is
/// read from it to say.
final class FileBlobSource: BlobSource {
    let size: UInt64
    private let path: String
    private let slot = DescriptorSlot()
    private let pool: DescriptorPool

    var place: String { path }

    /// The files of all sources of the process: a service has more of them than it may have open.
    private static let files = DescriptorPool(
        limit: min(512, ((try? ResourceLimits.openFiles()) ?? 1024) / 8)
    )

    /// The file's bytes.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - expectedSize: the size it must have.
    ///   - pool: keeps its descriptor.
    /// - Throws: `ContentError` if it cannot be opened, or has another size.
    init(
        _ path: String,
        expectedSize: UInt64,
        pool: DescriptorPool = files
    ) throws(ContentError) {
        _ = try openBlob(path, expectedSize: expectedSize)
        size = expectedSize
        self.pool = pool
        // A daemon leaves the directory that a relative path starts from.
        self.path = try systemCall { () throws(SystemError) in
            try FileSystem.canonicalPath(path)
        }
        try systemCall { () throws(SystemError) in _ = try acquire() }
        slot.release()
    }

    /// The file's descriptor, in use until the slot is released.
    private func acquire() throws(SystemError) -> Int32 {
        if let number = slot.acquire() { return number }
        return try pool.open(slot) { () throws(SystemError) in
            try FileSystem.openRegular(path)
        }
    }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        guard offset.bytes <= size, UInt64(buffer.count) <= size - offset.bytes else {
            throw .truncated(
                "\(path): \(buffer.count) bytes at offset \(offset), the blob has \(size)"
            )
        }
        let count = try systemCall { () throws(SystemError) in
            let number = try acquire()
            defer { slot.release() }
            return try OwnedDescriptor.borrowing(number) { file throws(SystemError) in
                try unsafe file.read(into: buffer, at: offset.bytes, path)
            }
        }
        guard count == buffer.count else {
            throw .truncated("\(path): ends at offset \(offset.bytes + UInt64(count))")
        }
    }
}
