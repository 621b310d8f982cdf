// SPDX-License-Identifier: Apache-2.0

package import Content

/// A blob's chunk-info table ("blob.meta"): where every chunk lies, stored and uncompressed.
///
/// The file form, as bootstrap layers and caches carry it: the uncompressed table, zeros up to a
/// multiple of 4096, then a header of 4096 bytes. Digests are kept apart: 32 bytes a chunk, in
/// chunk order.
package struct ChunkInfoTable: Sendable {
    /// The number of chunks.
    package let count: Int
    /// What the header repeats of the blob.
    package let features: BlobFeatures
    /// Where the table lies in the blob file.
    package let location: ChunkInfoLocation
    /// Where the batches' records follow the chunks', in bytes from the table's start.
    private let batchOffset: Int
    private let batchCount: Int

    /// The size of the header, in bytes.
    package static let headerSize = 4096
    /// The size of a V1 chunk info, in bytes.
    static let infoSize = 16
    static let infoSizeV2 = 24
    private static let batchSize = 40
    private static let magic: UInt32 = 0xb10b_b10b

    private var entrySize: Int { features.contains(.chunkInfoV2) ? Self.infoSizeV2 : Self.infoSize }

    /// Reads the header of a table in its file form, and checks that the table fits.
    ///
    /// - Parameter file: the table's file.
    /// - Throws: `ContentError` naming the field that is wrong.
    package init(file: RawSpan) throws(ContentError) {
        guard file.byteCount >= Self.headerSize else {
            throw .truncated("chunk-info table: \(file.byteCount) bytes have no room for a header")
        }
        let header = try file.slice(
            at: file.byteCount - Self.headerSize,
            count: Self.headerSize
        )
        try self.init(header: header)
        let end = max(count * entrySize, batchOffset + batchCount * Self.batchSize)
        guard end <= file.byteCount - Self.headerSize else {
            throw .truncated(
                "chunk-info table: \(count) chunks and \(batchCount) batches in"
                    + " \(file.byteCount) bytes"
            )
        }
    }

    /// Reads a header.
    ///
    /// - Parameter header: its 4096 bytes.
    /// - Throws: `ContentError` naming the field that is wrong.
    package init(header: RawSpan) throws(ContentError) {
        guard try header.littleEndian(UInt32.self, at: 0) == Self.magic,
            try header.littleEndian(UInt32.self, at: 4092) == Self.magic
        else {
            throw .corrupt("chunk-info table: its header has no magic")
        }
        let count = try header.littleEndian(UInt32.self, at: 12)
        guard count <= BootstrapFormat.maximumChunkIndex + 1 else {
            throw .corrupt("chunk-info table: \(count) chunks, at most 2^24 can be named")
        }
        let compressor = try header.littleEndian(UInt32.self, at: 8)
        guard let compressor = Compressor(rawValue: compressor) else {
            throw .corrupt("chunk-info table: compressor \(compressor) is not known")
        }
        self.count = Int(count)
        let features = BlobFeatures(rawValue: try header.littleEndian(UInt32.self, at: 4))
        (batchOffset, batchCount) = try Self.batches(header, features)
        self.features = features
        location = ChunkInfoLocation(
            compressor: compressor,
            offset: try header.littleEndian(UInt64.self, at: 16),
            compressedSize: try header.littleEndian(UInt64.self, at: 24),
            uncompressedSize: try header.littleEndian(UInt64.self, at: 32)
        )
    }

    private static func batches(
        _ header: RawSpan,
        _ features: BlobFeatures
    ) throws(ContentError) -> (offset: Int, count: Int) {
        guard features.contains(.batch) else { return (0, 0) }
        let offset = try header.littleEndian(UInt64.self, at: 40)
        let count = try header.littleEndian(UInt32.self, at: 56)
        guard features.contains(.chunkInfoV2), offset <= UInt64(UInt32.max),
            count <= BootstrapFormat.maximumChunkIndex + 1
        else {
            throw .corrupt("chunk-info table: \(count) batches at \(offset)")
        }
        return (Int(offset), Int(count))
    }

    /// The record of a chunk.
    ///
    /// Allocates nothing.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - table: the table's file, or the uncompressed table alone.
    ///   - digests: the digests of all chunks.
    /// - Returns: the record.
    /// - Throws: `ContentError` if the index or the record is out of bounds, or the chunk is
    ///   stored in a way that this version does not read.
    package func chunk(
        at index: Int,
        table: RawSpan,
        digests: RawSpan
    ) throws(ContentError) -> Chunk {
        guard index >= 0, index < count else {
            throw .corrupt("chunk \(index): the blob has \(count) chunks")
        }
        var chunk =
            features.contains(.chunkInfoV2)
            ? try infoV2(table, at: index) : try Self.info(table, at: index)
        chunk.digest = try Digest(digests, at: index * Digest.byteCount)
        return chunk
    }

    private static func info(_ table: RawSpan, at index: Int) throws(ContentError) -> Chunk {
        let first = try table.littleEndian(UInt64.self, at: index * infoSize)
        let second = try table.littleEndian(UInt64.self, at: index * infoSize + 8)
        return Chunk(
            digest: .zero,
            compressedOffset: CompressedOffset(second & 0xff_ffff_ffff),
            compressedSize: UInt32(second >> 44 | (second >> 40 & 0xf) << 20) + 1,
            uncompressedOffset: UncompressedOffset(first & 0xfff_ffff_f000),
            uncompressedSize: UInt32(first >> 44 | (first >> 8 & 0xf) << 20) + 1
        )
    }

    /// The flags of a V2 info.
    private enum Flag {
        static let compressed: UInt64 = 1
        static let batch: UInt64 = 4
        /// A checksum of the content follows; the digest is checked anyway.
        static let checksum: UInt64 = 0x10
    }

    private func infoV2(_ table: RawSpan, at index: Int) throws(ContentError) -> Chunk {
        let offset = index * Self.infoSizeV2
        let first = try table.littleEndian(UInt64.self, at: offset)
        let second = try table.littleEndian(UInt64.self, at: offset + 8)
        let flags = first >> 56
        // Zran and encryption are 2 and 8.
        guard flags & ~(Flag.compressed | Flag.batch | Flag.checksum) == 0 else {
            throw .unsupported("chunk \(index): flags 0x\(String(flags, radix: 16))")
        }
        var chunk = Chunk(
            digest: .zero,
            compressedOffset: CompressedOffset(second & 0xff_ffff_ffff),
            compressedSize: UInt32(second >> 40),
            uncompressedOffset: UncompressedOffset((first & 0xffff_ffff) * Chunk.alignment),
            uncompressedSize: UInt32(first >> 32 & 0xff_ffff) + 1
        )
        if flags & Flag.batch != 0 {
            let place = try table.littleEndian(UInt64.self, at: offset + 16)
            try join(&chunk, batch: place >> 32, offset: UInt32(place & 0xffff_ffff), table)
        } else if chunk.isCompressed != (flags & Flag.compressed != 0) || chunk.compressedSize == 0
        {
            throw .unsupported(
                "chunk \(index): \(chunk.compressedSize) bytes for \(chunk.uncompressedSize) with"
                    + " flags 0x\(String(flags, radix: 16))"
            )
        }
        return chunk
    }

    /// Makes the chunk a member of a batch, whose record says how much is stored.
    private func join(
        _ chunk: inout Chunk,
        batch: UInt64,
        offset: UInt32,
        _ table: RawSpan
    ) throws(ContentError) {
        guard batch < UInt64(batchCount) else {
            throw .corrupt("chunk-info table: batch \(batch) of \(batchCount)")
        }
        let record = batchOffset + Int(batch) * Self.batchSize
        chunk.compressedSize = try table.littleEndian(UInt32.self, at: record)
        let size = try table.littleEndian(UInt32.self, at: record + 4)
        chunk.batch = BatchPlace(offset: offset, size: size)
        guard chunk.isStorable else {
            throw .corrupt(
                "chunk-info table: batch \(batch) of \(chunk.compressedSize) bytes for \(size), with"
                    + " a chunk of \(chunk.uncompressedSize) at \(offset)"
            )
        }
    }
}

extension ChunkInfoTable {
    /// The uncompressed V1 table of the chunks.
    ///
    /// The chunks must be in range: offsets below 2^40 and 2^44, sizes 1...2^24; `BlobWriter`
    /// makes no others.
    ///
    /// - Parameter chunks: the chunks, by index.
    /// - Returns: 16 bytes for each.
    package static func encode(_ chunks: [Chunk]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(chunks.count * infoSize)
        for chunk in chunks {
            let content = UInt64(chunk.uncompressedSize - 1)
            let stored = UInt64(chunk.compressedSize - 1)
            bytes.appendLittleEndian(
                content << 44 | chunk.uncompressedOffset.bytes | (content >> 20 & 0xf) << 8
            )
            bytes.appendLittleEndian(
                stored << 44 | (stored >> 20 & 0xf) << 40 | chunk.compressedOffset.bytes
            )
        }
        return bytes
    }

    /// The header for a table of V1 infos.
    ///
    /// - Parameters:
    ///   - count: the number of chunks.
    ///   - features: the blob's features.
    ///   - location: where the table lies in the blob.
    /// - Returns: 4096 bytes.
    package static func header(
        count: Int,
        features: BlobFeatures,
        location: ChunkInfoLocation
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(headerSize)
        bytes.appendLittleEndian(magic)
        bytes.appendLittleEndian(features.rawValue)
        bytes.appendLittleEndian(location.compressor.rawValue)
        bytes.appendLittleEndian(UInt32(count))
        bytes.appendLittleEndian(location.offset)
        bytes.appendLittleEndian(location.compressedSize)
        bytes.appendLittleEndian(location.uncompressedSize)
        bytes.append(contentsOf: repeatElement(0, count: headerSize - 4 - bytes.count))
        bytes.appendLittleEndian(magic)
        return bytes
    }

    /// The table in its file form: uncompressed, padded, header last.
    ///
    /// - Parameters:
    ///   - table: the uncompressed table.
    ///   - header: its header.
    /// - Returns: the file's bytes.
    package static func file(table: [UInt8], header: [UInt8]) -> [UInt8] {
        var bytes = table
        bytes.padWithZeros(toMultipleOf: headerSize)
        return bytes + header
    }
}
