// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Layers
import OCI
import RAFS

/// A layer converted: its blob is at the destination, the rest is here for merging.
struct ConvertedLayer: Sendable {
    /// Names the blob at the destination, or the source's layer where that is the blob.
    var blob: Descriptor
    /// Names the blob that holds the metadata of that layer; nil where the blob is one of ours.
    var metadataBlob: Descriptor?
    /// What that costs.
    var index: LayerIndexSize?
    /// Why the layer's data is stored anew, where it was to stay.
    var storedBecause: String?
    /// The blob as a bootstrap names it; nil if it has no chunk.
    var entry: BlobTableEntry?
    /// The blob's chunks, by index.
    var chunks: [Chunk]
    /// The chunk-info table in its file form; empty if there is no chunk.
    var chunkInfoFile: [UInt8]
    /// The layer's tree; its chunks' addresses are of this blob, numbered 0, or of the
    /// dictionary's, numbered from 1.
    var tree: FileTree
    /// What could not be kept.
    var warnings: [String]
    /// What the layer depends on; nil if it is not to be found by that.
    var key: Digest?
    /// Whether it was converted before.
    var isReused = false
    /// How many of the chunks stand first because readers want them first.
    var firstCount = 0
    /// The dictionary's blobs that the tree needs, counted from 0.
    var dictionaryBlobs: [Int] = []
    /// What became of the pieces of content.
    var pieces = PieceCounts()
    /// Where the time went.
    var times = LayerTimes()
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
        let key = LayerKey.key(of: layer, diffID, options)
        if let key, let known = reused(layer, key) { return known }
        if options.spanSize != nil { return try index(layer, diffID: diffID) }
        var converted = try convertAnew(layer, diffID: diffID)
        // What could not be kept is to be said each time.
        if converted.warnings.isEmpty { converted.key = key }
        return converted
    }

    /// The layer as it was converted before; nil if it was not, or cannot be had any more.
    private func reused(_ layer: Descriptor, _ key: Digest) -> ConvertedLayer? {
        guard let known = options.cache.layer(key) else { return nil }
        do {
            let metadata = try LayerMetadata(
                known.source.blobSource(known.blob),
                limits: BootstrapLimits(
                    names: UInt64(options.limits.entries),
                    depth: options.limits.depth
                )
            )
            guard metadata.chunkSize == options.chunkSize else { return nil }
            if try !destination.hasBlob(known.blob) {
                try destination.copyBlob(known.blob, from: known.source)
            }
            let blob = Descriptor(
                mediaType: .nydusBlob,
                digest: known.blob.digest,
                size: known.blob.size
            )
            var reused = ConvertedLayer(blob, metadata)
            let chunkSize = UInt64(options.chunkSize)
            reused.firstCount =
                options.prefetch?.chunks(of: metadata.tree, chunkSize: chunkSize).count ?? 0
            reused.key = key
            reused.isReused = true
            meter.bytes.add(Int(clamping: layer.size))
            return reused
        } catch {
            // Whatever is wrong with it, it can be converted.
            return nil
        }
    }

    /// Reads the layer and stores its data.
    func convertAnew(_ layer: Descriptor, diffID: Digest) throws -> ConvertedLayer {
        // A registry that loses an upload keeps nothing of it, nor do we: all is read again.
        try destination.writeBlob { upload in
            try convert(layer, diffID: diffID, into: upload)
        }
    }

    private func convert(
        _ layer: Descriptor,
        diffID: Digest,
        into upload: any BlobUpload
    ) throws -> ConvertedLayer {
        let writer = BlobWriter(
            to: UploadSink(upload),
            chunkSize: options.chunkSize,
            compressor: options.compressionLevel == nil ? .none : .zstd
        )
        guard let prefetch = options.prefetch else {
            let (filled, contents) = try read(layer, diffID: diffID, into: writer)
            return try finish(filled, contents, upload)
        }
        let spool = try ChunkSpool(in: options.workDirectory)
        var (filled, contents) = try read(layer, diffID: diffID, into: spool)
        var watch = Stopwatch()
        let first = prefetch.chunks(of: contents.tree, chunkSize: UInt64(options.chunkSize))
        var ordered = writer
        let indexes = try filled.write(first: first, to: &ordered)
        contents.tree.mapChunks { address in
            guard address.blob == 0 else { return address }
            return ChunkAddress(blob: 0, index: indexes[Int(address.index)])
        }
        contents.times.write &+= watch.lap()
        var converted = try finish(ordered, contents, upload)
        converted.firstCount = first.count
        return converted
    }

    /// What was read of a layer, all of its chunks handed on.
    struct Contents {
        /// The tree; chunk addresses of blob 0 are indexes of the output.
        var tree: FileTree
        var warnings: [String]
        var pieces: PieceCounts
        var times: LayerTimes
    }

    /// Reads the layer to its end and hands its chunks to the output.
    private func read<Output: ChunkOutput>(
        _ layer: Descriptor,
        diffID: Digest,
        into output: consuming Output
    ) throws -> (output: Output, contents: Contents) {
        let stream = try LayerStream(
            source.openBlob(layer),
            layer: layer,
            diffID: diffID,
            progress: meter.bytes
        )
        return try read(stream, layer, into: output)
    }

    /// Reads a layer's tar to its end and hands its chunks to the output.
    func read<Output: ChunkOutput>(
        _ stream: consuming LayerStream,
        _ layer: Descriptor,
        into output: consuming Output
    ) throws -> (output: Output, contents: Contents) {
        var watch = Stopwatch()
        var chunker = LayerChunker(
            output: output,
            workers: workers,
            dictionary: options.dictionary,
            chunkSize: Int(options.chunkSize),
            runningLimit: 2 * options.threads + 2,
            pieceLimit: options.limits.chunks,
            isCompressing: Output.needsContent,
            meter: meter
        )
        let layerTree = try readTree(stream, layer, into: &chunker)
        // What is read is read by now; the chunker counts its own time.
        let inChunker = chunker.times.wait &+ chunker.times.write
        let readTime = watch.lap() &- inChunker
        if options.isStrict, let warning = layerTree.warnings.first {
            throw ContentError.unsupported(
                "layer \(layer.digest): \(layerTree.warnings.count) things cannot be kept: \(warning)"
            )
        }
        try chunker.writeAll()
        var contents = Contents(
            tree: layerTree.tree,
            warnings: layerTree.warnings,
            pieces: chunker.counts,
            times: chunker.times
        )
        contents.times.read = readTime
        let (filled, addresses) = try chunker.finish()
        contents.tree.mapChunks { addresses[Int($0.index)] }
        return (filled, contents)
    }

    /// Writes what follows the chunks, and puts the blob in its place.
    private func finish(
        _ filled: consuming BlobWriter<UploadSink>,
        _ contents: Contents,
        _ upload: any BlobUpload
    ) throws -> ConvertedLayer {
        var watch = Stopwatch()
        var writer = filled
        let entry = try writer.finishChunks()
        let chunks = writer.chunks
        let chunkInfoFile = writer.chunkInfoFile
        var numbers = BlobNumbers(of: contents.tree)
        let dictionaryBlobs = numbers.used.filter { $0 > 0 }.map { Int($0) - 1 }
        if entry != nil { numbers.use(0) }
        let bootstrap = try bootstrap(of: contents.tree, entry, chunks, numbers)
        _ = try writer.finish(bootstrap: bootstrap)
        let (digest, size) = try upload.commit()
        var times = contents.times
        times.write &+= watch.lap()
        return ConvertedLayer(
            blob: Descriptor(mediaType: .nydusBlob, digest: digest, size: size),
            entry: entry,
            chunks: chunks,
            chunkInfoFile: chunkInfoFile,
            tree: contents.tree,
            warnings: contents.warnings,
            dictionaryBlobs: dictionaryBlobs,
            pieces: contents.pieces,
            times: times
        )
    }

    private func readTree(
        _ stream: consuming LayerStream,
        _ layer: Descriptor,
        into chunker: inout LayerChunker<some ChunkOutput>
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
    ///
    /// Beside the blob it names those of the dictionary that the layer needs: so it can be merged
    /// without the layers above and below.
    private func bootstrap(
        of layerTree: FileTree,
        _ entry: BlobTableEntry?,
        _ chunks: [Chunk],
        _ numbers: BlobNumbers
    ) throws(ContentError) -> [UInt8] {
        let used = numbers.used
        var tree = layerTree
        // Without a dictionary there is nothing to renumber, and no copy of the tree is made.
        if used != [0] { tree.mapChunks { numbers.address($0) } }
        let dictionary = options.dictionary
        let blobs = used.compactMap { $0 == 0 ? entry : dictionary.blobs[Int($0) - 1].entry }
        var writer = BootstrapWriter(
            tree: tree,
            blobs: blobs,
            chunkSize: options.chunkSize,
            flags: BootstrapWriter.flags(options.compressor, blobs: blobs)
        )
        writer.marksImplicitDirectories = true
        return try writer.write { address in
            let number = used[Int(address.blob)]
            guard number == 0 else { return dictionary.chunk(at: address.index, of: number) }
            return chunks[Int(address.index)]
        }
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
