// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux

/// A blob on its way into a layout: written to a temporary file, digested as it comes.
final class LayoutBlobUpload: BlobUpload {
    private let file: TemporaryFile
    private let layout: OCILayout
    private var digest = StreamingDigest()
    private var size: UInt64 = 0
    // Small writes are gathered, so that tables and padding cost no system call each.
    private var pending: [UInt8] = []
    private static let pendingLimit = 64 << 10

    init(_ file: TemporaryFile, layout: OCILayout) {
        self.file = file
        self.layout = layout
    }

    func write(_ bytes: RawSpan) throws(ContentError) {
        digest.update(bytes)
        size &+= UInt64(bytes.byteCount)
        if pending.count + bytes.byteCount > Self.pendingLimit { try flush() }
        if bytes.byteCount >= Self.pendingLimit {
            try store(bytes)
        } else {
            unsafe bytes.withUnsafeBytes { unsafe pending.append(contentsOf: $0) }
        }
    }

    func commit() throws(ContentError) -> (digest: Digest, size: UInt64) {
        try flush()
        let found = digest.finish()
        try systemCall { () throws(SystemError) in
            // Over a blob of that name, too: it has the same bytes, or is damaged.
            try file.moveIntoPlace(layout.blobPath(found), in: layout.blobDirectory)
        }
        return (found, size)
    }

    private func flush() throws(ContentError) {
        // Moved out and back: a span of a class's property cannot outlive one access.
        var gathered: [UInt8] = []
        swap(&gathered, &pending)
        try store(gathered.rawSpan)
        gathered.removeAll(keepingCapacity: true)
        swap(&gathered, &pending)
    }

    private func store(_ bytes: RawSpan) throws(ContentError) {
        do throws(SystemError) {
            try file.write(bytes)
        } catch {
            throw ContentError(error)
        }
    }
}
