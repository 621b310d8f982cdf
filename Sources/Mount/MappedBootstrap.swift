// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import RAFS

/// A bootstrap in a mapped file, its layout checked once.
final class MappedBootstrap: Sendable {
    private let file: MappedFile
    let layout: BootstrapLayout

    /// Maps a bootstrap.
    ///
    /// - Throws: `SystemError` if the file cannot be mapped; `ContentError` if it is no bootstrap
    ///   that this version reads.
    init(_ path: String) throws {
        let file = try MappedFile(path)
        let layout = try file.withBytes { bytes throws(ContentError) in
            try BootstrapLayout(bytes)
        }
        try layout.checkReadable()
        self.file = file
        self.layout = layout
    }

    /// Calls the body with a view of the bootstrap.
    ///
    /// - Parameter body: uses the view.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    func read<T, Failure: Error>(
        _ body: (borrowing Bootstrap) throws(Failure) -> T
    ) throws(Failure) -> T {
        try file.withBytes { bytes throws(Failure) in
            try body(Bootstrap(bytes: bytes, layout: layout))
        }
    }

    /// The records that the bootstrap itself has of one blob's chunks, by their indexes.
    ///
    /// - Throws: `ContentError` if a record is out of range.
    func records(ofBlob blob: Int) throws(ContentError) -> [UInt32: Chunk] {
        var records: [UInt32: Chunk] = [:]
        try read { (tree) throws(ContentError) in
            try tree.forEachChunkRecord { (record) throws(ContentError) in
                guard Int(record.address.blob) == blob else { return }
                records[record.address.index] = record.chunk
            }
        }
        return records
    }
}
