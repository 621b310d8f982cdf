// SPDX-License-Identifier: Apache-2.0

package import Compression
import Content
import Distribution
import Layers
import OCI
import RAFS

/// What the index over one layer costs.
package struct LayerIndexSize: Sendable {
    /// How the layer is compressed.
    package var compression: LayerCompression
    /// Spans in it.
    package var spanCount: Int
    /// Bytes of their windows, as stored.
    package var windowBytes: Int
}

/// Indexes over layers that stay as they are.
extension LayerConversion {
    /// Layers with fewer bytes cost less as blobs of ours than an index over them does.
    private static let smallSize: UInt64 = 8 << 10

    /// Reads the layer to its end, verified, and puts the blob that describes it to the destination.
    ///
    /// A layer that cannot be read from the middle is converted instead.
    ///
    /// - Parameters:
    ///   - layer: names the layer.
    ///   - diffID: the digest of its uncompressed tar.
    /// - Returns: the layer with the places of its chunks.
    /// - Throws: an error that names the layer.
    func index(_ layer: Descriptor, diffID: Digest) throws -> ConvertedLayer {
        if layer.size < Self.smallSize {
            return try store(layer, diffID: diffID, because: "it is smaller than an index over it")
        }
        var watch = Stopwatch()
        let builder = CheckpointBuilder(spanSize: options.spanSize ?? 0)
        let stream = try LayerStream(
            source.openBlob(layer),
            layer: layer,
            diffID: diffID,
            progress: meter.bytes,
            checkpoints: builder
        )
        let compression = stream.compression
        guard compression != .zstd else {
            return try store(layer, diffID: diffID, because: "zstd is not read from the middle")
        }
        var chunker = LayerChunker(
            output: PieceList(builder),
            workers: workers,
            chunkSize: Int(options.chunkSize),
            runningLimit: 2 * options.threads + 2,
            pieceLimit: options.limits.chunks,
            isCompressing: false,
            meter: meter
        )
        var contents = try readTree(stream, layer, into: &chunker)
        try chunker.writeAll()
        var times = chunker.times
        let counts = chunker.counts
        let (pieces, addresses) = try chunker.finish()
        contents.tree.mapChunks { addresses[Int($0.index)] }
        times.read = watch.lap() &- times.wait
        let spans = compression == .gzip ? builder.finish() : []
        guard let chunks = pieces.chunks(in: spans, isPlain: compression == .none) else {
            return try store(layer, diffID: diffID, because: "parts of it are not at a stretch")
        }
        var indexed = try store(chunks, of: layer, compression, tree: contents.tree)
        indexed.warnings = contents.warnings
        indexed.pieces = counts
        indexed.times = times
        indexed.times.write = watch.lap()
        return indexed
    }

    private func store(
        _ layer: Descriptor,
        diffID: Digest,
        because reason: String
    ) throws -> ConvertedLayer {
        var converted = try convertAnew(layer, diffID: diffID)
        converted.storedBecause = reason
        return converted
    }

    private func store(
        _ chunks: LayerChunks,
        of layer: Descriptor,
        _ compression: LayerCompression,
        tree: FileTree
    ) throws -> ConvertedLayer {
        let writer = try MetadataBlobWriter(chunks)
        let blob = try destination.putBlob(writer.bytes, mediaType: .nydusBlob)
        var entry: BlobTableEntry?
        if let last = chunks.chunks.last {
            let end = last.uncompressedOffset.bytes + UInt64(last.uncompressedSize)
            entry = BlobTableEntry(
                id: layer.digest.hex,
                chunkCount: UInt32(chunks.chunks.count),
                chunkSize: options.chunkSize,
                compressor: compression == .none ? .none : .gzip,
                digester: .sha256,
                features: writer.features,
                compressedSize: layer.size,
                uncompressedSize: end.roundedUp(toMultipleOf: Chunk.alignment),
                chunkInfo: writer.location,
                metadata: MetadataBlob(digest: blob.digest, size: blob.size)
            )
        }
        var indexed = ConvertedLayer(
            blob: layer,
            entry: entry,
            chunks: chunks.chunks,
            chunkInfoFile: [],
            tree: tree,
            warnings: []
        )
        indexed.metadataBlob = blob
        indexed.index = LayerIndexSize(
            compression: compression,
            spanCount: chunks.spans.count,
            windowBytes: writer.storedWindows
        )
        return indexed
    }
}

/// The distinct chunks of a layer that stay where they are, as they come.
struct PieceList: ChunkOutput {
    private struct Piece {
        var digest: Digest
        var size: UInt32
        var place: UncompressedOffset?
    }

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

    /// The chunks and the spans that they are in.
    ///
    /// - Parameters:
    ///   - spans: those of the whole layer; those without a chunk are left out.
    ///   - isPlain: whether the layer is stored as it is.
    /// - Returns: nil if a chunk is in no span that a reader accepts.
    func chunks(in spans: [LayerSpan], isPlain: Bool) -> LayerChunks? {
        var result = LayerChunks(chunks: [], spans: [], windows: [])
        result.chunks.reserveCapacity(pieces.count)
        var viewEnd: UInt64 = 0
        var span = 0
        var used: Int?
        for piece in pieces {
            guard let place = piece.place, viewEnd + UInt64(piece.size) < 1 << 44 else {
                return nil
            }
            var chunk = Chunk(
                digest: piece.digest,
                compressedOffset: CompressedOffset(place.bytes),
                compressedSize: piece.size,
                uncompressedOffset: UncompressedOffset(viewEnd),
                uncompressedSize: piece.size
            )
            if !isPlain {
                guard !spans.isEmpty else { return nil }
                while span + 1 < spans.count, spans[span + 1].firstPiece <= place.bytes {
                    span += 1
                }
                if used != span { result.append(spans[span]) }
                used = span
                guard let record = result.spans.last,
                    chunk.move(into: record, number: result.spans.count - 1, at: place)
                else { return nil }
            }
            result.chunks.append(chunk)
            viewEnd += UInt64(piece.size).roundedUp(toMultipleOf: Chunk.alignment)
        }
        return result
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
