// SPDX-License-Identifier: Apache-2.0

package import Content
package import Linux

/// A regular file's bytes, front to back.
struct FileStream: ~Copyable, ByteStream {
    private let file: OwnedDescriptor
    private let path: String

    /// The file's bytes.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - expectedSize: the size it must have; nil for any.
    /// - Throws: `ContentError` if it cannot be opened, or has another size.
    init(_ path: String, expectedSize: UInt64? = nil) throws(ContentError) {
        self.path = path
        file = try openBlob(path, expectedSize: expectedSize)
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        try systemCall { () throws(SystemError) in try unsafe file.read(into: buffer, path) }
    }
}

/// A regular file's bytes by ranges.
final class FileBlobSource: BlobSource {
    let size: UInt64
    private let file: OwnedDescriptor
    private let path: String

    var place: String { path }

    /// The file's bytes.
    init(_ path: String, expectedSize: UInt64) throws(ContentError) {
        self.path = path
        size = expectedSize
        file = try openBlob(path, expectedSize: expectedSize)
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
            try unsafe file.read(into: buffer, at: offset.bytes, path)
        }
        guard count == buffer.count else {
            throw .truncated("\(path): ends at offset \(offset.bytes + UInt64(count))")
        }
    }
}

private func openBlob(
    _ path: String,
    expectedSize: UInt64?
) throws(ContentError) -> OwnedDescriptor {
    let file = try systemCall { () throws(SystemError) in try FileSystem.openRegular(path) }
    let size = try systemCall { () throws(SystemError) in try file.status(path).size }
    if let expectedSize, expectedSize != size {
        throw .corrupt("\(path): expected \(expectedSize) bytes, found \(size)")
    }
    return file
}

/// Runs the body and throws what it throws in the words of those who read and write data.
func systemCall<T: ~Copyable>(_ body: () throws(SystemError) -> T) throws(ContentError) -> T {
    do throws(SystemError) {
        return try body()
    } catch {
        throw ContentError(error)
    }
}

extension ContentError {
    /// What a failed system call means to those who read and write data.
    package init(_ error: SystemError) {
        let kind: Kind =
            error.isNotFound ? .notFound : error.isOutOfSpace ? .noSpace : .inputOutput
        self.init(kind, error.description)
    }
}
