// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content

/// Where the chunks of a layer of an ordinary image are.
package struct LayerChunks: Sendable {
    /// The chunks by index, those of one batch together; spans are named by their position in
    /// `spans`.
    package var chunks: [Chunk]
    /// The spans; none where chunks are stored as they are or in frames.
    package var spans: [SpanRecord]
    /// Their windows, one behind the other.
    package var windows: [UInt8]
    /// Whether the layer can only be fetched whole: chunks are where they are in its tar.
    package var isWhole = false

    /// Chunks of the values.
    package init(chunks: [Chunk], spans: [SpanRecord], windows: [UInt8]) {
        self.chunks = chunks
        self.spans = spans
        self.windows = windows
    }
}

/// Writes the blob that holds the metadata of a layer of an ordinary image, whose chunks stay where
/// they are: the chunk-info table, and the table of contents.
package struct MetadataBlobWriter {
    /// The blob.
    package private(set) var bytes: [UInt8] = []
    /// Where its chunk-info table is.
    package let location: ChunkInfoLocation
    /// What the blob that it describes has.
    package let features: BlobFeatures
    /// Bytes of windows, as stored.
    package private(set) var storedWindows = 0

    /// What compresses well is small anyway; windows are worth some time.
    private static let level: Int32 = 12

    /// Writes the blob.
    ///
    /// - Parameter layer: where the chunks are; all in range, as `Chunk.isPlausible` tells.
    /// - Throws: `ContentError` if there is no memory.
    package init(_ layer: LayerChunks) throws(ContentError) {
        var features: BlobFeatures = [
            .aligned, .chunkInfoV2, .separate, .hasTarHeader, .hasTOC, .capTarTOC,
        ]
        if !layer.spans.isEmpty { features.insert(.zran) }
        if layer.isWhole { features.insert(.whole) }
        let (infos, batches) = ChunkInfoTable.encodeV2(layer.chunks)
        if !batches.isEmpty { features.insert(.batch) }
        self.features = features
        var table = infos + batches
        for span in layer.spans { span.encode(into: &table) }
        let plainSize = try ZstdBuffer.compress(table, level: Self.level).count
        table += layer.windows
        let stored = table.isEmpty ? [] : try ZstdBuffer.compress(table, level: Self.level)
        storedWindows = layer.windows.isEmpty ? 0 : max(0, stored.count - plainSize)
        location = ChunkInfoLocation(
            compressor: .zstd,
            offset: 0,
            compressedSize: UInt64(stored.count),
            uncompressedSize: UInt64(table.count)
        )
        var header = ChunkInfoTable.header(
            count: layer.chunks.count,
            features: features,
            location: location
        )
        if table.count > infos.count {
            let count = layer.spans.count + batches.count / UnitRecords.recordSize
            header.storeLittleEndian(UInt64(infos.count), at: 40)
            header.storeLittleEndian(UInt64(table.count - infos.count), at: 48)
            header.storeLittleEndian(UInt32(count), at: 56)
        }
        var toc = BlobTOC()
        if !layer.chunks.isEmpty { append(table, stored: stored, header, &toc) }
        append(toc)
    }

    /// Appends the chunk-info table and its header.
    private mutating func append(
        _ table: [UInt8],
        stored: [UInt8],
        _ header: [UInt8],
        _ toc: inout BlobTOC
    ) {
        bytes = stored + header
        // One tar header describes table and header together.
        bytes += BlobTarHeader.encode(name: BlobTOC.Name.chunkInfo, size: UInt64(bytes.count))
        toc.entries = [
            BlobTOC.Entry(
                name: BlobTOC.Name.chunkInfo,
                compressor: .zstd,
                digest: StreamingDigest.digest(of: table.rawSpan),
                offset: 0,
                compressedSize: UInt64(stored.count),
                uncompressedSize: UInt64(table.count)
            ),
            BlobTOC.Entry(
                name: BlobTOC.Name.chunkInfoHeader,
                compressor: .none,
                digest: StreamingDigest.digest(of: header.rawSpan),
                offset: UInt64(stored.count),
                compressedSize: UInt64(header.count),
                uncompressedSize: UInt64(header.count)
            ),
        ]
    }

    private mutating func append(_ toc: BlobTOC) {
        let table = toc.encoded()
        bytes += table
        bytes += BlobTarHeader.encode(name: BlobTOC.Name.toc, size: UInt64(table.count))
    }
}

extension ChunkInfoTable {
    /// The uncompressed V2 infos of chunks that are stored as they are, in spans or in batches, and
    /// the records of those batches.
    static func encodeV2(_ chunks: [Chunk]) -> (infos: [UInt8], batches: [UInt8]) {
        var infos: [UInt8] = []
        var batches: [UInt8] = []
        var last: Chunk?
        infos.reserveCapacity(chunks.count * infoSizeV2)
        for chunk in chunks {
            let isInBatch = chunk.batch != nil && chunk.batch?.checkpoint == nil
            if isInBatch, last?.sharesUnit(with: chunk) != true {
                batches.appendLittleEndian(chunk.compressedSize)
                batches.appendLittleEndian(chunk.unitSize)
                batches += repeatElement(0, count: UnitRecords.recordSize - 8)
            }
            last = chunk
            let batch = UInt32(batches.count / UnitRecords.recordSize)
            let unit = chunk.batch?.checkpoint ?? (isInBatch ? batch - 1 : 0)
            let flags =
                isInBatch
                ? Flag.compressed | Flag.batch
                : chunk.batch == nil ? 0 : Flag.compressed | Flag.span
            infos.appendLittleEndian(
                flags << 56 | UInt64(chunk.uncompressedSize - 1) << 32
                    | chunk.uncompressedOffset.bytes / Chunk.alignment
            )
            infos.appendLittleEndian(
                (isInBatch ? 0 : UInt64(chunk.compressedSize)) << 40 | chunk.compressedOffset.bytes
            )
            infos.appendLittleEndian(UInt64(unit) << 32 | UInt64(chunk.unitOffset))
        }
        return (infos, batches)
    }
}

extension SpanRecord {
    fileprivate func encode(into bytes: inout [UInt8]) {
        bytes.appendLittleEndian(compressedOffset.bytes)
        bytes.appendLittleEndian(uncompressedOffset.bytes)
        bytes.appendLittleEndian(windowOffset)
        bytes.appendLittleEndian(compressedSize)
        bytes.appendLittleEndian(uncompressedSize)
        bytes.appendLittleEndian(windowSize)
        bytes += [byte, bitCount, 0, 0]
    }
}
