// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import RAFS

/// The distinct chunks of a layer that stay where they are, as they come.
struct PieceList: ChunkOutput {
    private struct Piece {
        var digest: Digest
        var size: UInt32
        var place: UncompressedOffset?
    }

    static var needsContent: Bool { false }

    private let builder: CheckpointBuilder
    private var pieces: [Piece] = []

    /// No chunks yet.
    ///
    /// - Parameter builder: is told of all pieces of content.
    init(_ builder: CheckpointBuilder) {
        self.builder = builder
    }

    mutating func prepare(forPieceAt place: UncompressedOffset?, size: Int) {
        if let place { builder.add(pieceAt: place, size: size) }
    }

    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32
    ) throws(ContentError) -> UInt32 {
        try append(stored: stored, digest: digest, contentSize: contentSize, place: nil)
    }

    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32,
        place: UncompressedOffset?
    ) throws(ContentError) -> UInt32 {
        let index = UInt32(truncatingIfNeeded: pieces.count)
        guard index <= BootstrapFormat.maximumChunkIndex else {
            throw ContentError(.limitExceeded, "a layer has at most 2^24 chunks")
        }
        pieces.append(Piece(digest: digest, size: contentSize, place: place))
        return index
    }

    /// Where each chunk is; nil if that is not at a stretch.
    private func places() -> [Chunk]? {
        var chunks: [Chunk] = []
        chunks.reserveCapacity(pieces.count)
        var viewEnd: UInt64 = 0
        for piece in pieces {
            guard let place = piece.place, place.bytes < 1 << 40,
                viewEnd + UInt64(piece.size) < 1 << 44
            else { return nil }
            chunks.append(
                Chunk(
                    digest: piece.digest,
                    compressedOffset: CompressedOffset(place.bytes),
                    compressedSize: piece.size,
                    uncompressedOffset: UncompressedOffset(viewEnd),
                    uncompressedSize: piece.size
                )
            )
            viewEnd += UInt64(piece.size).roundedUp(toMultipleOf: Chunk.alignment)
        }
        return chunks
    }

    /// The chunks of a layer that is not compressed.
    ///
    /// - Returns: nil if one is not at a stretch.
    func chunks() -> LayerChunks? {
        places().map { LayerChunks(chunks: $0, spans: [], windows: []) }
    }

    /// The chunks of a layer of which no part can be decoded alone, by their places in its tar.
    ///
    /// - Returns: nil if one is not at a stretch.
    func wholeChunks() -> LayerChunks? {
        guard var result = chunks() else { return nil }
        result.isWhole = true
        return result
    }

    /// The chunks and the spans that they are in.
    ///
    /// - Parameter spans: those of the whole layer; those without a chunk are left out.
    /// - Returns: nil if a chunk is in no span that a reader accepts.
    func chunks(in spans: [LayerSpan]) -> LayerChunks? {
        guard let chunks = places() else { return nil }
        var result = LayerChunks(chunks: [], spans: [], windows: [])
        var span = 0
        var used: Int?
        for var chunk in chunks {
            let place = UncompressedOffset(chunk.compressedOffset.bytes)
            guard !spans.isEmpty else { return nil }
            while span + 1 < spans.count, spans[span + 1].firstPiece <= place.bytes { span += 1 }
            if used != span { result.append(spans[span]) }
            used = span
            guard let record = result.spans.last,
                chunk.move(into: record, number: result.spans.count - 1, at: place)
            else { return nil }
            result.chunks.append(chunk)
        }
        return result
    }

    /// The chunks and the frames that they are in.
    ///
    /// - Parameters:
    ///   - frames: those of the whole layer.
    ///   - limit: how much content is fetched together, in bytes.
    /// - Returns: nil if a chunk is in frames that no reader accepts.
    func chunks(in frames: FrameList, limit: UInt64) -> LayerChunks? {
        guard frames.count > 1, let chunks = places() else { return nil }
        var units: [FrameList.Unit] = []
        var numbers: [Int] = []
        for chunk in chunks {
            let start = chunk.compressedOffset.bytes
            let content = start..<start + UInt64(chunk.uncompressedSize)
            guard let unit = frames.unit(holding: content, after: units.last, limit: limit) else {
                return nil
            }
            let isSame = units.last?.stored.lowerBound == unit.stored.lowerBound
            if isSame { units[units.count - 1] = unit } else { units.append(unit) }
            numbers.append(units.count - 1)
        }
        var result = LayerChunks(chunks: [], spans: [], windows: [])
        for (var chunk, number) in zip(chunks, numbers) {
            guard chunk.move(into: units[number]) else { return nil }
            result.chunks.append(chunk)
        }
        return result
    }
}

extension FrameList.Unit {
    fileprivate var sizes: (stored: UInt32, content: UInt32) {
        (UInt32(clamping: stored.count), UInt32(clamping: content.count))
    }
}

extension LayerChunks {
    /// Appends a span with its window.
    fileprivate mutating func append(_ span: LayerSpan) {
        let missing = span.window.isEmpty ? 0 : Checkpoint.windowSize - span.window.count
        spans.append(
            SpanRecord(
                compressed: (
                    CompressedOffset(span.stored.lowerBound), UInt32(clamping: span.stored.count)
                ),
                uncompressed: (
                    UncompressedOffset(span.content.lowerBound),
                    UInt32(clamping: span.content.count)
                ),
                window: (
                    span.window.isEmpty ? 0 : UInt64(windows.count),
                    UInt32(span.window.count + missing)
                ),
                byte: span.checkpoint.byte,
                bitCount: UInt8(span.checkpoint.bitCount)
            )
        )
        windows += repeatElement(0, count: missing)
        windows += span.window
    }
}

extension Chunk {
    /// Makes this a chunk of frames; its place in the layer is in `compressedOffset`.
    ///
    /// - Returns: false if no reader would accept it there.
    fileprivate mutating func move(into unit: FrameList.Unit) -> Bool {
        let place = compressedOffset.bytes
        // Equal sizes would mean that the content is stored as it is.
        guard place >= unit.content.lowerBound, unit.sizes.stored != unit.sizes.content,
            unit.stored.upperBound < 1 << 40
        else { return false }
        compressedOffset = CompressedOffset(unit.stored.lowerBound)
        compressedSize = unit.sizes.stored
        batch = BatchPlace(
            offset: UInt32(clamping: place - unit.content.lowerBound),
            size: unit.sizes.content
        )
        return isPlausible(maximumSize: BootstrapFormat.maximumChunkSize)
    }

    /// Makes this a chunk of a span.
    ///
    /// - Returns: false if no reader would accept it there.
    fileprivate mutating func move(
        into span: SpanRecord,
        number: Int,
        at place: UncompressedOffset
    ) -> Bool {
        guard place >= span.uncompressedOffset,
            place.bytes - span.uncompressedOffset.bytes <= UInt64(UInt32.max),
            span.compressedOffset.bytes + UInt64(span.compressedSize) < 1 << 40
        else { return false }
        compressedOffset = span.compressedOffset
        compressedSize = span.compressedSize
        batch = BatchPlace(
            offset: UInt32(place.bytes - span.uncompressedOffset.bytes),
            size: span.uncompressedSize,
            checkpoint: UInt32(number)
        )
        return isPlausible(maximumSize: BootstrapFormat.maximumChunkSize)
    }
}
