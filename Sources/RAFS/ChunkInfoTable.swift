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
    /// What follows the chunks' records: those of batches or spans.
    let units: UnitRecords

    /// The size of the header, in bytes.
    package static let headerSize = 4096
    /// The sizes of V1 and V2 chunk infos, in bytes.
    static let infoSize = 16
    static let infoSizeV2 = 24
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
        guard max(count * entrySize, units.end) <= file.byteCount - Self.headerSize else {
            throw .truncated(
                "chunk-info table: \(count) chunks and \(units.count) batches or spans in"
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
        units = try UnitRecords(header, features)
        self.features = features
        location = ChunkInfoLocation(
            compressor: compressor,
            offset: try header.littleEndian(UInt64.self, at: 16),
            compressedSize: try header.littleEndian(UInt64.self, at: 24),
            uncompressedSize: try header.littleEndian(UInt64.self, at: 32)
        )
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
