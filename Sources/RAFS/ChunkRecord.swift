// SPDX-License-Identifier: Apache-2.0

package import Content

/// One entry of the bootstrap's chunk table: 80 bytes on disk (the chunk record of RAFS v5).
package struct ChunkRecord: Hashable, Sendable {
    /// Which chunk it describes.
    package var address: ChunkAddress
    /// Digest, places and sizes.
    package var chunk: Chunk
    /// Where the chunk stands in the first file that uses it, in bytes.
    package var fileOffset: UInt64

    /// A record with the values.
    package init(address: ChunkAddress, chunk: Chunk, fileOffset: UInt64) {
        self.address = address
        self.chunk = chunk
        self.fileOffset = fileOffset
    }

    /// Whether the chunk may be a batch's member: then the table does not tell its stored place, and
    /// its compressed size is 0.
    package var isBatched: Bool { chunk.compressedSize == 0 }

    /// The size of a record on disk, in bytes.
    static let byteCount = 80

    private static let compressedFlag: UInt32 = 1
    private static let batchFlag: UInt32 = 8
    private static let checksumFlag: UInt32 = 0x10

    init(_ bytes: RawSpan, at offset: Int, blobCount: Int) throws(ContentError) {
        let blob = try bytes.littleEndian(UInt32.self, at: offset + 32)
        let flags = try bytes.littleEndian(UInt32.self, at: offset + 36)
        let index = try bytes.littleEndian(UInt32.self, at: offset + 72)
        guard Int(blob) < blobCount, index <= BootstrapFormat.maximumChunkIndex else {
            throw .corrupt("chunk table: chunk \(index) of blob \(blob) of \(blobCount)")
        }
        guard flags & ~(Self.compressedFlag | Self.batchFlag | Self.checksumFlag) == 0 else {
            throw .unsupported(
                "chunk table: chunk \(index) of blob \(blob) has flags 0x\(String(flags, radix: 16))"
            )
        }
        address = ChunkAddress(blob: UInt16(blob), index: index)
        chunk = Chunk(
            digest: try Digest(bytes, at: offset),
            compressedOffset: CompressedOffset(
                try bytes.littleEndian(UInt64.self, at: offset + 48)
            ),
            compressedSize: try bytes.littleEndian(UInt32.self, at: offset + 40),
            uncompressedOffset: UncompressedOffset(
                try bytes.littleEndian(UInt64.self, at: offset + 56)
            ),
            uncompressedSize: try bytes.littleEndian(UInt32.self, at: offset + 44)
        )
        fileOffset = try bytes.littleEndian(UInt64.self, at: offset + 64)
        var checked = chunk
        if isBatched { checked.compressedSize = 1 }
        guard checked.isStorable else {
            throw .corrupt("chunk table: chunk \(index) of blob \(blob) is out of range")
        }
    }

    /// Whether the blob's own record says the same of the chunk.
    package func agrees(with other: Chunk) -> Bool {
        // Of a span's chunk the record tells the bytes that were read for it, not the span.
        guard isBatched || other.batch?.checkpoint != nil else { return chunk == other }
        return other.batch != nil && chunk.digest == other.digest
            && chunk.uncompressedOffset == other.uncompressedOffset
            && chunk.uncompressedSize == other.uncompressedSize
    }

    /// Appends the 80 bytes of the record.
    func encode(into bytes: inout [UInt8]) {
        bytes.append(contentsOf: chunk.digest.bytes)
        bytes.appendLittleEndian(UInt32(address.blob))
        let compressed = chunk.isCompressed ? Self.compressedFlag : 0
        let isInBatch = chunk.batch != nil && chunk.batch?.checkpoint == nil
        bytes.appendLittleEndian(isInBatch ? compressed | Self.batchFlag : compressed)
        bytes.appendLittleEndian(isInBatch ? 0 : chunk.compressedSize)
        bytes.appendLittleEndian(chunk.uncompressedSize)
        bytes.appendLittleEndian(chunk.compressedOffset.bytes)
        bytes.appendLittleEndian(chunk.uncompressedOffset.bytes)
        bytes.appendLittleEndian(fileOffset)
        bytes.appendLittleEndian(address.index)
        bytes.appendLittleEndian(UInt32(0))  // no checksum: the digest decides
    }
}

extension Chunk {
    /// Whether RAFS v6 has room for the places and sizes.
    var isStorable: Bool {
        isPlausible(maximumSize: BootstrapFormat.maximumChunkSize)
            && uncompressedOffset.bytes < 1 << 44 && compressedOffset.bytes < 1 << 40
    }
}

extension Bootstrap {
    /// Calls the body for every record of the chunk table, in stored order.
    ///
    /// - Parameter body: gets each record.
    /// - Throws: `ContentError` if a record is out of range; what the body throws.
    package func forEachChunkRecord(
        _ body: (ChunkRecord) throws(ContentError) -> Void
    ) throws(ContentError) {
        for offset in stride(
            from: layout.chunkTable.lowerBound,
            to: layout.chunkTable.upperBound,
            by: BootstrapFormat.chunkRecordSize
        ) {
            try body(ChunkRecord(bytes, at: offset, blobCount: layout.blobs.count))
        }
    }

    /// The digests that the chunk table knows of one blob's chunks.
    ///
    /// - Parameter blob: the blob's index.
    /// - Returns: 32 bytes for each chunk of the blob, zeros for those that the table leaves out:
    ///   no file of this tree has them.
    /// - Throws: `ContentError` if a record is out of range.
    package func recordedDigests(ofBlob blob: Int) throws(ContentError) -> [UInt8] {
        let count = Int(layout.blobs[blob].chunkCount)
        var digests = [UInt8](repeating: 0, count: count * Digest.byteCount)
        try forEachChunkRecord { (record) throws(ContentError) in
            guard Int(record.address.blob) == blob else { return }
            guard Int(record.address.index) < count else {
                throw .corrupt("chunk table: chunk \(record.address.index) of \(count)")
            }
            let start = Int(record.address.index) * Digest.byteCount
            digests.replaceSubrange(
                start..<start + Digest.byteCount,
                with: record.chunk.digest.bytes
            )
        }
        return digests
    }

    /// The nids of the prefetch table, up to its first zero.
    ///
    /// - Returns: a copy of the list.
    /// - Throws: `ContentError` if the table lies outside of the bootstrap.
    package func prefetchList() throws(ContentError) -> [UInt64] {
        var result: [UInt64] = []
        for offset in stride(
            from: layout.prefetchTable.lowerBound,
            to: layout.prefetchTable.upperBound,
            by: 4
        ) {
            let nid = try bytes.littleEndian(UInt32.self, at: offset)
            guard nid != 0 else { break }
            result.append(UInt64(nid))
        }
        return result
    }
}
