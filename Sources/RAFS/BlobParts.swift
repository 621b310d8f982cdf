// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content

/// What a data blob holds besides its chunks, fetched from where the blob is.
package struct BlobParts: Sendable {
    private let source: any BlobSource

    /// The most that one part may have, stored or uncompressed, in bytes.
    private static let sizeLimit = 4 << 30

    /// The parts of the blob at the source.
    package init(_ source: any BlobSource) {
        self.source = source
    }

    /// The table of contents at the blob's end.
    ///
    /// - Returns: nil if the blob ends in something else, as those of nydus before 2.2 do.
    /// - Throws: `ContentError` if the table is malformed or cannot be fetched.
    package func tableOfContents() throws(ContentError) -> BlobTOC? {
        let size = min(UInt64(BlobTOC.maximumTailSize), source.size)
        let tail = try bytes(at: source.size - size, count: size)
        guard BlobTOC.isThere(tail: tail.rawSpan) else { return nil }
        return try BlobTOC(tail: tail.rawSpan, blobSize: source.size)
    }

    /// A part, uncompressed and verified.
    ///
    /// - Parameter entry: the part, of this blob's table of contents.
    /// - Returns: its bytes.
    /// - Throws: `ContentError` if it cannot be fetched or is not what the entry says.
    package func part(_ entry: BlobTOC.Entry) throws(ContentError) -> [UInt8] {
        let stored = try bytes(at: entry.offset, count: entry.compressedSize)
        let content = try content(stored, entry.compressor, size: entry.uncompressedSize)
        let digest = StreamingDigest.digest(of: content)
        guard entry.digest == .zero || digest == entry.digest else {
            throw .corrupt(
                "part \(entry.name): digest mismatch: expected \(entry.digest), found \(digest)"
            )
        }
        return content
    }

    /// The chunk-info table in its file form, from the place that a bootstrap names.
    ///
    /// - Parameter location: the place.
    /// - Returns: the uncompressed table, padded, and its header.
    /// - Throws: `ContentError` if it cannot be fetched or decompressed.
    package func chunkInfoFile(at location: ChunkInfoLocation) throws(ContentError) -> [UInt8] {
        let headerSize = ChunkInfoTable.headerSize
        // Both are at most 2^40: see `BlobTableEntry`.
        let end = location.offset + location.compressedSize
        let stored = try bytes(at: location.offset, count: location.compressedSize)
        let header = try bytes(at: end, count: UInt64(headerSize))
        let table = try content(stored, location.compressor, size: location.uncompressedSize)
        return ChunkInfoTable.file(table: table, header: header)
    }

    private func content(
        _ stored: [UInt8],
        _ compressor: Compressor,
        size: UInt64
    ) throws(ContentError) -> [UInt8] {
        guard compressor != .none else { return stored }
        return try compressor.decompress(
            stored.rawSpan,
            expectedSize: Int(clamping: size),
            limit: Self.sizeLimit
        )
    }

    private func bytes(at offset: UInt64, count: UInt64) throws(ContentError) -> [UInt8] {
        guard count <= UInt64(Self.sizeLimit) else {
            throw ContentError(.limitExceeded, "a part of \(count) bytes")
        }
        // Before memory is taken for what a hostile table claims.
        guard offset <= source.size, count <= source.size - offset else {
            throw .corrupt("a part of \(count) bytes at \(offset) lies outside of the blob")
        }
        var bytes = [UInt8](repeating: 0, count: Int(count))
        var span = bytes.mutableSpan
        try unsafe span.withUnsafeMutableBytes { (buffer) throws(ContentError) in
            try unsafe source.fetch(at: CompressedOffset(offset), into: buffer)
        }
        return bytes
    }
}
