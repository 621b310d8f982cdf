// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content

/// Writes one data blob front to back: chunks, chunk-info table, digests, bootstrap, TOC.
///
/// Call `append` for every chunk, then `finishChunks`, then `finish` with the bootstrap that names
/// the entry `finishChunks` gave.
package struct BlobWriter<Sink: ByteSink> {
    private var sink: Sink
    private var position: UInt64 = 0
    private var toc = BlobTOC()
    /// The chunks written, by index.
    package private(set) var chunks: [Chunk] = []
    /// The chunk-info table in its file form; empty before `finishChunks` and without chunks.
    package private(set) var chunkInfoFile: [UInt8] = []
    private var uncompressedSize: UInt64 = 0
    private let chunkSize: UInt32
    private let compressor: Compressor

    /// A blob written to the sink.
    ///
    /// - Parameters:
    ///   - sink: takes the blob's bytes.
    ///   - chunkSize: the uncompressed size of a full chunk, in bytes.
    ///   - compressor: how chunks that are not stored as they are were compressed.
    package init(to sink: Sink, chunkSize: UInt32, compressor: Compressor) {
        self.sink = sink
        self.chunkSize = chunkSize
        self.compressor = compressor
    }

    /// Appends a chunk.
    ///
    /// - Parameters:
    ///   - stored: its bytes as stored: compressed, or as they are if that is not smaller.
    ///   - digest: the digest of its content.
    ///   - contentSize: the size of its content, in bytes: 1...chunkSize.
    /// - Returns: the chunk's index in the blob.
    /// - Throws: `ContentError` if the blob has no room for it or the sink fails.
    package mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32
    ) throws(ContentError) -> UInt32 {
        let index = UInt32(chunks.count)
        guard index <= BootstrapFormat.maximumChunkIndex,
            position + UInt64(stored.byteCount) < 1 << 40,
            uncompressedSize + UInt64(contentSize) < 1 << 44
        else {
            throw ContentError(
                .limitExceeded,
                "a blob holds at most 2^24 chunks and 2^40 bytes of them"
            )
        }
        let chunk = Chunk(
            digest: digest,
            compressedOffset: CompressedOffset(position),
            compressedSize: UInt32(stored.byteCount),
            uncompressedOffset: UncompressedOffset(uncompressedSize),
            uncompressedSize: contentSize
        )
        try write(stored)
        chunks.append(chunk)
        uncompressedSize += UInt64(contentSize).roundedUp(toMultipleOf: Chunk.alignment)
        return index
    }

    /// Writes what follows the chunks, up to the bootstrap.
    ///
    /// - Returns: the blob as a bootstrap names it; nil if it has no chunk and is not named.
    /// - Throws: `ContentError` if the sink fails.
    package mutating func finishChunks() throws(ContentError) -> BlobTableEntry? {
        guard !chunks.isEmpty else { return nil }
        toc.entries.append(
            BlobTOC.Entry(
                name: BlobTOC.Name.chunks,
                compressor: .none,
                digest: .zero,  // unknown: readers check chunks, never the whole
                offset: 0,
                compressedSize: position,
                uncompressedSize: uncompressedSize
            )
        )
        try write(BlobTarHeader.encode(name: BlobTOC.Name.chunks, size: position))
        let location = try writeChunkInfo()
        let digests = chunks.flatMap { $0.digest.bytes }
        try writePart(BlobTOC.Name.chunkDigests, stored: digests, content: digests, .none)
        return BlobTableEntry(
            id: BlobTableEntry.placeholderID,
            chunkCount: UInt32(chunks.count),
            chunkSize: chunkSize,
            compressor: compressor,
            digester: .sha256,
            features: .written.union(.inlinedBootstrap),
            compressedSize: position,
            uncompressedSize: uncompressedSize,
            chunkInfo: location
        )
    }

    private mutating func writeChunkInfo() throws(ContentError) -> ChunkInfoLocation {
        let table = ChunkInfoTable.encode(chunks)
        let (stored, tableCompressor) = try Self.compressed(table)
        let location = ChunkInfoLocation(
            compressor: tableCompressor,
            offset: position,
            compressedSize: UInt64(stored.count),
            uncompressedSize: UInt64(table.count)
        )
        let header = ChunkInfoTable.header(
            count: chunks.count,
            features: .written.union(.inlinedBootstrap),
            location: location
        )
        try appendEntry(BlobTOC.Name.chunkInfo, stored: stored, content: table, tableCompressor)
        try write(stored)
        try appendEntry(BlobTOC.Name.chunkInfoHeader, stored: header, content: header, .none)
        try write(header)
        // One tar header describes table and header together.
        let size = UInt64(stored.count + header.count)
        try write(BlobTarHeader.encode(name: BlobTOC.Name.chunkInfo, size: size))
        chunkInfoFile = ChunkInfoTable.file(table: table, header: header)
        return location
    }

    /// Writes the layer's bootstrap and the table of contents, which end the blob.
    ///
    /// - Parameter bootstrap: the bootstrap, uncompressed.
    /// - Returns: the sink, which has the whole blob.
    /// - Throws: `ContentError` if the sink fails.
    package consuming func finish(bootstrap: [UInt8]) throws(ContentError) -> Sink {
        let (stored, compressor) = try Self.compressed(bootstrap)
        try writePart(BlobTOC.Name.bootstrap, stored: stored, content: bootstrap, compressor)
        let table = toc.encoded()
        try write(table)
        try write(BlobTarHeader.encode(name: BlobTOC.Name.toc, size: UInt64(table.count)))
        return sink
    }

    private mutating func writePart(
        _ name: String,
        stored: [UInt8],
        content: [UInt8],
        _ compressor: Compressor
    ) throws(ContentError) {
        try appendEntry(name, stored: stored, content: content, compressor)
        try write(stored)
        try write(BlobTarHeader.encode(name: name, size: UInt64(stored.count)))
    }

    private mutating func appendEntry(
        _ name: String,
        stored: [UInt8],
        content: [UInt8],
        _ compressor: Compressor
    ) throws(ContentError) {
        toc.entries.append(
            BlobTOC.Entry(
                name: name,
                compressor: compressor,
                digest: StreamingDigest.digest(of: content.rawSpan),
                offset: position,
                compressedSize: UInt64(stored.count),
                uncompressedSize: UInt64(content.count)
            )
        )
    }

    private mutating func write(_ bytes: [UInt8]) throws(ContentError) {
        try write(bytes.rawSpan)
    }

    private mutating func write(_ bytes: RawSpan) throws(ContentError) {
        try sink.write(bytes)
        position += UInt64(bytes.byteCount)
    }

    /// The bytes as they are stored: by zstd if that is smaller.
    private static func compressed(
        _ bytes: [UInt8]
    ) throws(ContentError) -> (stored: [UInt8], compressor: Compressor) {
        let result = try ZstdBuffer.compress(bytes)
        return result.count < bytes.count ? (result, .zstd) : (bytes, .none)
    }
}
