// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Layers
import OCI
import RAFS

/// A layer converted: its blob is at the destination, the rest is here for merging.
struct ConvertedLayer: Sendable {
    /// Names the blob at the destination.
    var blob: Descriptor
    /// The blob as a bootstrap names it; nil if it has no chunk.
    var entry: BlobTableEntry?
    /// The blob's chunks, by index.
    var chunks: [Chunk]
    /// The chunk-info table in its file form; empty if there is no chunk.
    var chunkInfoFile: [UInt8]
    /// The layer's tree; its chunks' addresses are of this blob, numbered 0.
    var tree: FileTree
    /// What could not be kept.
    var warnings: [String]
    /// How many pieces of content the layer has, repeated ones counted each time.
    var pieceCount: Int
}

/// Converts one layer; what comes out depends on the layer and the options alone.
struct LayerConversion {
    let source: any ImageSource
    let destination: any ImageDestination
    let options: ConversionOptions
    let workers: ChunkWorkers
    let meter: LayerProgressMeter

    /// Reads the layer to its end, verified, and writes its blob.
    ///
    /// - Parameters:
    ///   - layer: names the layer.
    ///   - diffID: the digest of its uncompressed tar.
    /// - Returns: the converted layer.
    /// - Throws: an error that names the layer; nothing of it is then at the destination.
    func convert(_ layer: Descriptor, diffID: Digest) throws -> ConvertedLayer {
        let stream = try LayerStream(
            source.openBlob(layer),
            layer: layer,
            diffID: diffID,
            progress: meter.bytes
        )
        let upload = try destination.makeBlob()
        var chunker = LayerChunker(
            writer: BlobWriter(
                to: UploadSink(upload),
                chunkSize: options.chunkSize,
                compressor: options.compressor
            ),
            workers: workers,
            chunkSize: Int(options.chunkSize),
            runningLimit: 2 * options.threads + 2,
            pieceLimit: options.limits.chunks,
            meter: meter
        )
        var layerTree = try readTree(stream, layer, into: &chunker)
        if options.isStrict, let warning = layerTree.warnings.first {
            throw ContentError.unsupported(
                "layer \(layer.digest): \(layerTree.warnings.count) things cannot be kept: \(warning)"
            )
        }
        var (writer, indexes) = try chunker.finish()
        layerTree.tree.mapChunks { address in
            ChunkAddress(blob: 0, index: indexes[Int(address.index)])
        }
        let entry = try writer.finishChunks()
        let chunks = writer.chunks
        let chunkInfoFile = writer.chunkInfoFile
        let bootstrap = try bootstrap(of: layerTree.tree, entry, chunks)
        _ = try writer.finish(bootstrap: bootstrap)
        let (digest, size) = try upload.commit()
        return ConvertedLayer(
            blob: Descriptor(mediaType: .nydusBlob, digest: digest, size: size),
            entry: entry,
            chunks: chunks,
            chunkInfoFile: chunkInfoFile,
            tree: layerTree.tree,
            warnings: layerTree.warnings,
            pieceCount: indexes.count
        )
    }

    private func readTree(
        _ stream: consuming LayerStream,
        _ layer: Descriptor,
        into chunker: inout LayerChunker<UploadSink>
    ) throws(ContentError) -> LayerTree {
        let reader = LayerReader(limits: options.limits, keepsXattr: XattrEncoder.canStore)
        do throws(ContentError) {
            return try reader.read(stream, into: &chunker)
        } catch {
            let name = "layer \(layer.digest)"
            throw error.message.hasPrefix(name) ? error : error.at(name)
        }
    }

    /// The layer's own bootstrap: whiteouts kept, the blob's id not known yet.
    private func bootstrap(
        of tree: FileTree,
        _ entry: BlobTableEntry?,
        _ chunks: [Chunk]
    ) throws(ContentError) -> [UInt8] {
        var writer = BootstrapWriter(
            tree: tree,
            blobs: entry.map { [$0] } ?? [],
            chunkSize: options.chunkSize,
            flags: BootstrapWriter.flags(options.compressor)
        )
        writer.marksImplicitDirectories = true
        return try writer.write { chunks[Int($0.index)] }
    }
}

/// A blob on its way to the destination, as a sink.
struct UploadSink: ByteSink {
    private let upload: any BlobUpload

    init(_ upload: any BlobUpload) {
        self.upload = upload
    }

    mutating func write(_ bytes: RawSpan) throws(ContentError) {
        try upload.write(bytes)
    }
}
