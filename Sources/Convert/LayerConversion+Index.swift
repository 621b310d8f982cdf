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
    /// Whether it is fetched whole, whatever is read of it.
    package var isWhole: Bool
}

/// Indexes over layers that stay as they are.
extension LayerConversion {
    /// Layers with fewer bytes cost less as blobs of ours than an index over them does.
    private static let smallSize: UInt64 = 8 << 10

    /// Reads the layer to its end, verified, and puts the blob that describes it to the destination.
    ///
    /// Of a layer that cannot be read from the middle the whole is fetched if that is how zstd was
    /// used; else it is converted instead.
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
        let spanSize = options.spanSize ?? 0
        let builder = CheckpointBuilder(spanSize: spanSize)
        let frames = FrameList()
        let stream = try LayerStream(
            source.openBlob(layer),
            layer: layer,
            diffID: diffID,
            progress: meter.bytes,
            checkpoints: builder,
            frames: frames
        )
        let compression = stream.compression
        let (pieces, contents) = try read(stream, layer, into: PieceList(builder))
        let chunks: LayerChunks? =
            switch compression {
            case .none: pieces.chunks()
            case .gzip: pieces.chunks(in: builder.finish())
            case .zstd: pieces.chunks(in: frames, limit: spanSize) ?? pieces.wholeChunks()
            }
        guard let chunks else {
            let reason = "it has sparse files, or no place to begin reading for 16 MiB"
            return try store(layer, diffID: diffID, because: reason)
        }
        var indexed = try store(chunks, of: layer, compression, tree: contents.tree)
        indexed.warnings = contents.warnings
        indexed.pieces = contents.pieces
        indexed.times = contents.times
        indexed.times.write = watch.lap() &- contents.times.read &- contents.times.wait
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
                compressor: chunks.isWhole ? .none : compression.compressor,
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
            spanCount: chunks.unitCount,
            windowBytes: writer.storedWindows,
            isWhole: chunks.isWhole
        )
        return indexed
    }
}

extension LayerCompression {
    /// The word for it of RAFS.
    fileprivate var compressor: Compressor {
        switch self {
        case .none: .none
        case .gzip: .gzip
        case .zstd: .zstd
        }
    }
}

extension LayerChunks {
    /// How many spans or batches there are.
    fileprivate var unitCount: Int {
        var count = spans.count
        var last: Chunk?
        for chunk in chunks where chunk.batch != nil && chunk.batch?.checkpoint == nil {
            if last?.sharesUnit(with: chunk) != true { count += 1 }
            last = chunk
        }
        return count
    }
}
