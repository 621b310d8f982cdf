// SPDX-License-Identifier: Apache-2.0

import Content
import Linux

/// The files of an OCI layout, in a directory or in an archive.
protocol LayoutFiles: Sendable {
    /// Where the files are, for messages.
    var place: String { get }

    /// A file's bytes, front to back.
    ///
    /// - Parameters:
    ///   - name: the file's path in the layout.
    ///   - expectedSize: the size it must have; nil for any.
    /// - Returns: its bytes.
    /// - Throws: `ContentError` if there is no such file, or it has another size.
    func open(_ name: String, expectedSize: UInt64?) throws(ContentError) -> AnyByteStream

    /// A file's bytes by ranges.
    func source(_ name: String, expectedSize: UInt64) throws(ContentError) -> any BlobSource
}

extension LayoutFiles {
    /// Reads a small file.
    func contents(of name: String, limit: Int) throws(ContentError) -> [UInt8] {
        var stream = try open(name, expectedSize: nil)
        do throws(ContentError) {
            return try stream.readAll(limit: limit)
        } catch {
            throw error.at("\(place)/\(name)")
        }
    }
}

/// A layout in a directory.
struct DirectoryFiles: LayoutFiles {
    let place: String

    func open(_ name: String, expectedSize: UInt64?) throws(ContentError) -> AnyByteStream {
        AnyByteStream(try FileStream("\(place)/\(name)", expectedSize: expectedSize))
    }

    func source(_ name: String, expectedSize: UInt64) throws(ContentError) -> any BlobSource {
        try FileBlobSource("\(place)/\(name)", expectedSize: expectedSize)
    }
}
