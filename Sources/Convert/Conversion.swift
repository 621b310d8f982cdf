// SPDX-License-Identifier: Apache-2.0
//
// Convert: OCI image -> data blobs + bootstrap, in the nydus image convention.

import Content
package import Distribution
package import Layers
import Linux
package import OCI
import RAFS

/// How an image is converted.
package struct ConversionOptions: Sendable {
    /// How many threads compress, and how many layers are read at once; at least 1.
    package var threads: Int
    /// The size of a full chunk, in bytes: a power of two, 4096...2^24.
    package var chunkSize: UInt32
    /// The zstd level, 1...22; nil to store chunks as they are.
    package var compressionLevel: Int32?
    /// Whether a file that cannot be kept whole is an error instead of a warning.
    package var isStrict: Bool
    /// What a layer may cost.
    package var limits: LayerLimits
    /// Chunks that are not stored again.
    package var dictionary: ChunkDictionary
    /// What readers want first: it comes first in the blobs, and is named in the bootstrap.
    package var prefetch: PrefetchList?
    /// Where chunks are spooled that have to wait for those that come first.
    package var workDirectory: String
    /// Layers that were converted before.
    package var cache: BuildCache
    /// If an index over the layers as they are is to be made instead of blobs: how much content is
    /// fetched together, in bytes.
    package var spanSize: UInt64?

    /// Options; those not given are the defaults.
    package init(
        threads: Int,
        chunkSize: UInt32 = 1 << 20,
        compressionLevel: Int32? = 3,
        isStrict: Bool = false,
        limits: LayerLimits = .standard,
        dictionary: ChunkDictionary = .empty,
        prefetch: PrefetchList? = nil,
        workDirectory: String = "/var/tmp",
        cache: BuildCache = .empty,
        spanSize: UInt64? = nil
    ) {
        self.threads = max(1, threads)
        self.chunkSize = chunkSize
        self.compressionLevel = compressionLevel
        self.isStrict = isStrict
        self.limits = limits
        self.dictionary = dictionary
        self.prefetch = prefetch
        self.workDirectory = workDirectory
        self.cache = cache
        self.spanSize = spanSize
    }

    /// How chunks are stored, as the image says it.
    var compressor: Compressor {
        if spanSize != nil { return .gzip }
        return compressionLevel == nil ? .none : .zstd
    }
}

/// What a conversion made.
package struct ConversionReport: Sendable {
    /// One source layer and its blob.
    package struct Layer: Sendable {
        /// The source layer.
        package var source: Descriptor
        /// The data blob.
        package var blob: Descriptor
        /// Chunks in the blob.
        package var chunkCount: Int
        /// What became of the pieces of content.
        package var pieces: PieceCounts
        /// Bytes of the blob's uncompressed view.
        package var uncompressedSize: UInt64
        /// Where the time went.
        package var times: LayerTimes
        /// Whether it was converted before: nothing is then known of its pieces.
        package var isReused: Bool
        /// The index over it, if its data stays where it is.
        package var index: LayerIndexSize?
        /// Why its data does not stay, where it was to; nil if it does.
        package var storedBecause: String?

        /// Pieces of content that the blob had already.
        package var duplicateCount: Int { pieces.repeated.pieces }

        fileprivate init(_ source: Descriptor, _ layer: ConvertedLayer) {
            self.source = source
            blob = layer.metadataBlob ?? layer.blob
            index = layer.index
            storedBecause = layer.storedBecause
            chunkCount = layer.chunks.count
            pieces = layer.pieces
            uncompressedSize = layer.entry?.uncompressedSize ?? 0
            times = layer.times
            isReused = layer.isReused
        }
    }

    /// Names the source's manifest.
    package var source: Descriptor
    /// Names the new manifest.
    package var manifest: Descriptor
    /// Names the bootstrap's layer.
    package var bootstrap: Descriptor
    /// The data blobs, lowest layer first.
    package var layers: [Layer]
    /// The blobs of dictionaries that the image needs, which are the manifest's first layers.
    package var dictionaryBlobs: [Descriptor]
    /// Where the time went.
    package var times: ImageTimes
    /// The space that was needed beside the target; nil if none was.
    package var spool: SpoolNeed?
    /// What could not be kept or was not found, one line each.
    package var warnings: [String]
}

/// Converts an OCI image to a RAFS v6 image.
///
/// Layers are read several at a time, each into its own blob; then their trees are merged and
/// the bootstrap, the configuration and the manifest are written, in this order: nothing is put
/// in place before all that it names. The same image and options give the same bytes.
package struct Conversion {
    let source: any ImageSource
    let destination: any ImageDestination
    let tag: String
    private let options: ConversionOptions
    private let announce: @Sendable (SpoolNeed) -> Void

    /// A conversion.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - destination: takes the converted image.
    ///   - tag: its tag there.
    ///   - options: how.
    ///   - announce: told of the space that an image's conversion needs, before it is taken.
    package init(
        from source: any ImageSource,
        to destination: any ImageDestination,
        tag: String,
        options: ConversionOptions,
        announce: @escaping @Sendable (SpoolNeed) -> Void = { _ in }
    ) {
        self.source = source
        self.destination = destination
        self.tag = tag
        self.options = options
        self.announce = announce
    }

    /// Converts the image.
    ///
    /// - Parameter progress: told how far the work is; called from several threads.
    /// - Returns: what was made.
    /// - Throws: an error that says what failed; the destination then has no such tag.
    package func run(
        progress: @escaping @Sendable (LayerProgress) -> Void = { _ in }
    ) throws -> ConversionReport {
        try convert(try source.resolve(), tag: tag, progress: progress)
    }

    /// Converts one image.
    ///
    /// An index over the image's layers as they are names the image as its subject.
    ///
    /// - Parameters:
    ///   - image: the image.
    ///   - tag: its tag at the destination; nil for one that an index will name.
    ///   - progress: told how far the work is.
    /// - Returns: what was made.
    /// - Throws: an error that says what failed.
    func convert(
        _ image: ResolvedImage,
        tag: String?,
        progress: @escaping @Sendable (LayerProgress) -> Void
    ) throws -> ConversionReport {
        try refuseConverted(image)
        let spool = try checkSpool(of: image)
        var times = ImageTimes()
        var watch = Stopwatch()
        let meter = LayerProgressMeter(image.manifest.layers, show: progress)
        let layers = try convertLayers(of: image, meter)
        times.layers = watch.lap()
        let merged = try MergedImage(
            layers,
            dictionary: options.dictionary,
            limits: options.limits
        )
        times.merge = watch.lap()
        let prefetch = try resolvePrefetch(in: merged.tree)
        let bootstrap = try BootstrapLayer(
            merged,
            bootstrap: merged.bootstrap(options, prefetch: prefetch.nodes)
        )
        let bootstrapBlob = try destination.putBlob(bootstrap.gzip, mediaType: .layerGzip)
        times.bootstrap = watch.lap()
        let dictionaryBlobs = try copyDictionaryBlobs(of: layers)
        let manifest = try putManifest(
            of: image,
            dictionaryBlobs + layers.map(\.annotatedBlob),
            bootstrapBlob,
            bootstrap.diffID,
            tag: tag
        )
        times.documents = watch.lap()
        return ConversionReport(
            source: image.descriptor,
            manifest: manifest,
            bootstrap: bootstrapBlob,
            layers: zip(image.manifest.layers, layers).map(ConversionReport.Layer.init),
            dictionaryBlobs: dictionaryBlobs,
            times: times,
            spool: spool,
            warnings: layers.flatMap(\.warnings) + prefetch.missing
        )
    }

    private func refuseConverted(_ image: ResolvedImage) throws {
        guard image.manifest.bootstrapLayer == nil else {
            throw ContentError.unsupported("\(source.name): this image is converted already")
        }
    }

    /// Checks that there is room for what has to wait; without a prefetch list nothing has.
    private func checkSpool(of image: ResolvedImage) throws -> SpoolNeed? {
        guard options.prefetch != nil else { return nil }
        let need = try SpoolNeed(
            of: image.manifest.layers,
            isCompressed: options.compressionLevel != nil,
            in: options.workDirectory
        )
        announce(need)
        try need.check()
        return need
    }

    /// What the bootstrap's prefetch table names, and warnings for what it cannot.
    private func resolvePrefetch(
        in tree: FileTree
    ) throws(ContentError) -> PrefetchList.Resolution {
        guard var resolution = options.prefetch?.resolve(in: tree) else {
            return PrefetchList.Resolution()
        }
        if options.isStrict, let path = resolution.missing.first {
            throw ContentError(
                .notFound,
                "prefetch list: \(resolution.missing.count) names are not in the image: \(path)"
            )
        }
        resolution.missing = resolution.missing.map { "prefetch list: \($0) is not in the image" }
        return resolution
    }

    private func convertLayers(
        of image: ResolvedImage,
        _ meter: LayerProgressMeter
    ) throws -> [ConvertedLayer] {
        let layers = image.manifest.layers
        let diffIDs = image.config.diffIDs
        return try ChunkWorkers.run(threads: options.threads, level: options.compressionLevel) {
            workers in
            let conversion = LayerConversion(
                source: source,
                destination: destination,
                options: options,
                workers: workers,
                meter: meter
            )
            return try inParallel(layers.count, threads: options.threads, name: "layer") { index in
                let layer = try conversion.convert(layers[index], diffID: diffIDs[index])
                meter.reportLayer()
                return layer
            }
        }
    }

    /// Puts the dictionary's blobs that any layer needs to the destination.
    ///
    /// - Returns: their descriptors, in the dictionary's order.
    private func copyDictionaryBlobs(of layers: [ConvertedLayer]) throws -> [Descriptor] {
        try Set(layers.flatMap(\.dictionaryBlobs)).sorted().map { number in
            try options.dictionary.copyBlob(number, to: destination)
            return options.dictionary.blobs[number].descriptor
        }
    }

    /// Stores configuration and manifest.
    ///
    /// The blobs of dictionaries are layers like others, before those of the image: so everything
    /// that the bootstrap names is kept, copied and collected with the image.
    private func putManifest(
        of image: ResolvedImage,
        _ blobs: [Descriptor],
        _ bootstrap: Descriptor,
        _ bootstrapDiffID: Digest,
        tag: String?
    ) throws -> Descriptor {
        var config = image.config
        config.diffIDs = blobs.map(\.digest) + [bootstrapDiffID]
        config.prependHistory(
            count: blobs.count - image.manifest.layers.count,
            createdBy: "lazypull convert",
            comment: "RAFS v6 blob of a chunk dictionary"
        )
        config.appendHistory(createdBy: "lazypull convert", comment: "RAFS v6 bootstrap")
        let configBlob = try destination.putBlob(config.serialized(), mediaType: .config)
        var manifest = Manifest(config: configBlob, layers: [])
        if options.spanSize != nil {
            var subject = image.descriptor
            (subject.annotations, subject.otherFields) = ([:], [:])
            manifest.otherFields["subject"] = subject.json
            manifest.otherFields["artifactType"] = .string(NydusConvention.artifactType)
        }
        manifest.annotations = image.manifest.annotations
        manifest.annotations[NydusAnnotation.version] = "6"
        manifest.annotations[NydusAnnotation.sourceDigest] = image.descriptor.digest.oci
        for blob in blobs {
            var layer = Descriptor(mediaType: .nydusBlob, digest: blob.digest, size: blob.size)
            layer.annotations = [NydusAnnotation.blob: "true"]
            for key in [LayerKey.annotation, NydusAnnotation.reference] {
                layer.annotations[key] = blob.annotations[key]
            }
            manifest.layers.append(layer)
        }
        var last = bootstrap
        last.annotations = [NydusAnnotation.bootstrap: "true", NydusAnnotation.version: "6"]
        manifest.layers.append(last)
        return try destination.put(
            manifest: manifest.serialized(),
            mediaType: .manifest,
            tag: tag
        )
    }
}

extension ConvertedLayer {
    /// The blob, and what it comes from.
    fileprivate var annotatedBlob: Descriptor {
        var blob = metadataBlob ?? blob
        blob.annotations[LayerKey.annotation] = key?.oci
        if metadataBlob != nil {
            blob.annotations[NydusAnnotation.reference] = self.blob.digest.oci
        }
        return blob
    }
}
