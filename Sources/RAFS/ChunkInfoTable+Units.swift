// SPDX-License-Identifier: Apache-2.0

package import Content

/// Where a chunk-info table has the records of what is decompressed together: of batches, or of
/// spans and their windows.
struct UnitRecords: Sendable {
    /// The number of records; 40 bytes each.
    let count: Int
    /// Where they begin in the uncompressed table.
    let offset: Int
    /// Where the windows begin, which follow them.
    let windowOffset: Int
    /// Where all of it ends.
    let end: Int

    static let recordSize = 40

    /// What the header of a table says of them.
    init(_ header: RawSpan, _ features: BlobFeatures) throws(ContentError) {
        guard !features.isDisjoint(with: [.batch, .zran]) else {
            (count, offset, windowOffset, end) = (0, 0, 0, 0)
            return
        }
        let offset = try header.littleEndian(UInt64.self, at: 40)
        let size = try header.littleEndian(UInt64.self, at: 48)
        let count = try header.littleEndian(UInt32.self, at: 56)
        guard features.contains(.chunkInfoV2),
            !features.isSuperset(of: [.batch, .zran]),
            offset <= UInt64(UInt32.max), size <= UInt64(UInt32.max),
            count <= BootstrapFormat.maximumChunkIndex + 1
        else {
            throw .corrupt(
                "chunk-info table: \(count) batches or spans in \(size) bytes at \(offset)"
            )
        }
        self.count = Int(count)
        self.offset = Int(offset)
        windowOffset = Int(offset) + Int(count) * Self.recordSize
        end = features.contains(.zran) ? max(windowOffset, Int(offset + size)) : windowOffset
    }
}

/// V2 chunk infos: 24 bytes each.
extension ChunkInfoTable {
    /// The flags of a V2 info.
    enum Flag {
        static let compressed: UInt64 = 1
        static let span: UInt64 = 2
        static let batch: UInt64 = 4
        /// A checksum of the content follows; the digest is checked anyway.
        static let checksum: UInt64 = 0x10
    }

    func infoV2(_ table: RawSpan, at index: Int) throws(ContentError) -> Chunk {
        let offset = index * Self.infoSizeV2
        let first = try table.littleEndian(UInt64.self, at: offset)
        let second = try table.littleEndian(UInt64.self, at: offset + 8)
        let flags = first >> 56
        let unit = flags & (Flag.batch | Flag.span)
        // Encryption is 8.
        guard flags & ~(Flag.compressed | Flag.batch | Flag.span | Flag.checksum) == 0,
            unit == 0 || unit == (features.contains(.zran) ? Flag.span : Flag.batch)
        else {
            throw .unsupported("chunk \(index): flags 0x\(String(flags, radix: 16))")
        }
        var chunk = Chunk(
            digest: .zero,
            compressedOffset: CompressedOffset(second & 0xff_ffff_ffff),
            compressedSize: UInt32(second >> 40),
            uncompressedOffset: UncompressedOffset((first & 0xffff_ffff) * Chunk.alignment),
            uncompressedSize: UInt32(first >> 32 & 0xff_ffff) + 1
        )
        if unit != 0 {
            let place = try table.littleEndian(UInt64.self, at: offset + 16)
            let (number, start) = (place >> 32, UInt32(place & 0xffff_ffff))
            guard number < UInt64(units.count) else {
                throw .corrupt(
                    "chunk-info table: \(features.unitName) \(number) of \(units.count)"
                )
            }
            if unit == Flag.batch {
                try join(&chunk, batch: Int(number), offset: start, table)
            } else {
                try join(&chunk, span: Int(number), offset: start, table)
            }
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
        batch: Int,
        offset: UInt32,
        _ table: RawSpan
    ) throws(ContentError) {
        let record = units.offset + batch * UnitRecords.recordSize
        chunk.compressedSize = try table.littleEndian(UInt32.self, at: record)
        let size = try table.littleEndian(UInt32.self, at: record + 4)
        chunk.batch = BatchPlace(offset: offset, size: size)
        try checkUnit(of: chunk, batch)
    }

    /// Makes the chunk a part of a span, whose record says where it is stored.
    private func join(
        _ chunk: inout Chunk,
        span: Int,
        offset: UInt32,
        _ table: RawSpan
    ) throws(ContentError) {
        let record = try SpanRecord(table, at: units.offset + span * UnitRecords.recordSize)
        chunk.compressedOffset = record.compressedOffset
        chunk.compressedSize = record.compressedSize
        chunk.batch = BatchPlace(
            offset: offset,
            size: record.uncompressedSize,
            checkpoint: UInt32(truncatingIfNeeded: span)
        )
        try checkUnit(of: chunk, span)
    }

    private func checkUnit(of chunk: Chunk, _ number: Int) throws(ContentError) {
        guard chunk.isStorable else {
            throw .corrupt(
                "chunk-info table: \(features.unitName) \(number) of \(chunk.compressedSize) bytes"
                    + " for \(chunk.unitSize), with a chunk of \(chunk.uncompressedSize) at"
                    + " \(chunk.unitOffset)"
            )
        }
    }

    /// Calls the body with the checkpoint at which a span begins, and its window.
    ///
    /// - Parameters:
    ///   - index: the span's number.
    ///   - table: the table's file, or the uncompressed table alone.
    ///   - body: gets the checkpoint and the window, which may be empty.
    /// - Throws: `ContentError` if the record is out of bounds; what the body throws.
    package func withCheckpoint(
        _ index: UInt32,
        in table: RawSpan,
        _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
    ) throws(ContentError) {
        guard features.contains(.zran), Int(index) < units.count else {
            throw .corrupt("chunk-info table: span \(index) of \(units.count)")
        }
        let place = units.offset + Int(index) * UnitRecords.recordSize
        let record = try SpanRecord(table, at: place)
        let available = UInt64(units.end - units.windowOffset)
        guard record.bitCount <= 7, record.windowSize <= UInt32(Checkpoint.windowSize),
            record.windowOffset <= available,
            UInt64(record.windowSize) <= available - record.windowOffset
        else {
            throw .corrupt(
                "chunk-info table: span \(index) has a window of \(record.windowSize) bytes at"
                    + " \(record.windowOffset) of \(available), and \(record.bitCount) bits"
            )
        }
        let window = try table.slice(
            at: units.windowOffset + Int(record.windowOffset),
            count: Int(record.windowSize)
        )
        try body(Checkpoint(bitCount: Int(record.bitCount), byte: record.byte), window)
    }
}

extension BlobFeatures {
    /// What the records after those of the chunks describe.
    fileprivate var unitName: String { contains(.zran) ? "span" : "batch" }
}

/// The record of a span (nydus: zran context): 40 bytes.
///
/// Checked where it is used: what it names may be out of bounds.
package struct SpanRecord: Hashable, Sendable {
    /// Where the span's bytes begin in the layer as it is stored.
    package var compressedOffset: CompressedOffset
    /// How many bytes there are.
    package var compressedSize: UInt32
    /// Where its content begins in the uncompressed layer.
    package var uncompressedOffset: UncompressedOffset
    /// How much content is decoded, in bytes.
    package var uncompressedSize: UInt32
    /// Where its window begins among the windows.
    package var windowOffset: UInt64
    /// The window's size: 0 or 32 KiB.
    package var windowSize: UInt32
    /// The byte before the span.
    package var byte: UInt8
    /// How many bits of that byte, the highest, begin the first block.
    package var bitCount: UInt8

    /// A record of the values.
    package init(
        compressed: (offset: CompressedOffset, size: UInt32),
        uncompressed: (offset: UncompressedOffset, size: UInt32),
        window: (offset: UInt64, size: UInt32),
        byte: UInt8,
        bitCount: UInt8
    ) {
        (compressedOffset, compressedSize) = compressed
        (uncompressedOffset, uncompressedSize) = uncompressed
        (windowOffset, windowSize) = window
        self.byte = byte
        self.bitCount = bitCount
    }

    init(_ table: RawSpan, at offset: Int) throws(ContentError) {
        compressedOffset = CompressedOffset(try table.littleEndian(UInt64.self, at: offset))
        uncompressedOffset = UncompressedOffset(
            try table.littleEndian(UInt64.self, at: offset + 8)
        )
        windowOffset = try table.littleEndian(UInt64.self, at: offset + 16)
        compressedSize = try table.littleEndian(UInt32.self, at: offset + 24)
        uncompressedSize = try table.littleEndian(UInt32.self, at: offset + 28)
        windowSize = try table.littleEndian(UInt32.self, at: offset + 32)
        byte = try table.littleEndian(UInt8.self, at: offset + 36)
        bitCount = try table.littleEndian(UInt8.self, at: offset + 37)
    }
}
