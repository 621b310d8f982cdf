// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
package import Distribution
package import Layers
package import OCI
import RAFS

/// The first layers of a converted image, as a converted image of its own.
///
/// Each data blob carries its layer's bootstrap; those of the first layers are merged as conversion
/// merges layers, so the bootstrap is the same to the byte as if the source's first layers alone
/// had been converted, without a list of files to prefetch. No chunk is read, and nothing is written
/// anywhere.
package struct LayerPrefix: ImageSource {
    package let name: String
    private let base: any ImageSource
    private let image: ResolvedImage
    private let bootstrap: Descriptor
    private let bootstrapLayer: BootstrapLayer

    /// Merges the layers.
    ///
    /// - Parameters:
    ///   - base: the converted image.
    ///   - count: how many of its layers, at least 0.
    ///   - limits: what the merged tree may cost.
    /// - Throws: `ContentError` if the image is not converted, has fewer layers, was converted with
    ///   a chunk dictionary or is an index over another one's layers; or naming the layer whose
    ///   bootstrap is missing, corrupt or contradicts those below.
    package init(
        of base: any ImageSource,
        layers count: Int,
        limits: LayerLimits = .standard
    ) throws {
        self.base = base
        name = "\(base.name) (\(count) layers)"
        let whole = try ConvertedImage(base).image
        let blobs = whole.manifest.dataBlobs
        guard count <= blobs.count else {
            throw ContentError(
                .notFound,
                "\(base.name): it has \(blobs.count) layers, not \(count)"
            )
        }
        guard blobs.allSatisfy({ $0.originalLayer == nil }) else {
            throw ContentError.unsupported(
                "\(base.name): its data is in the layers of another image, of which only the whole"
                    + " is read"
            )
        }
        try Self.refuseDictionary(blobs, of: base)
        bootstrapLayer = try Self.merge(blobs.prefix(count), of: base, limits)
        var config = whole.config
        config.diffIDs = blobs.prefix(count).map(\.digest) + [bootstrapLayer.diffID]
        let configBytes = config.serialized()
        var manifest = whole.manifest
        manifest.config = .naming(configBytes, as: whole.manifest.config.mediaType)
        var bootstrap = Descriptor.naming(bootstrapLayer.gzip, as: .layerGzip)
        bootstrap.annotations = [NydusAnnotation.bootstrap: "true", NydusAnnotation.version: "6"]
        manifest.layers = blobs.prefix(count) + [bootstrap]
        self.bootstrap = bootstrap
        let manifestBytes = manifest.serialized()
        image = try ResolvedImage(
            descriptor: .naming(manifestBytes, as: manifest.mediaType),
            manifestBytes: manifestBytes
        ) { _ in configBytes }
    }

    /// Refuses an image with blobs of a chunk dictionary: they stand among those of the layers.
    private static func refuseDictionary(
        _ blobs: [Descriptor],
        of base: any ImageSource
    ) throws {
        let ids = Set(blobs.map(\.digest.hex))
        for blob in blobs {
            let source = try base.blobSource(blob)
            do throws(ContentError) {
                guard ids.isDisjoint(with: try LayerMetadata.blobIDs(in: source)) else {
                    throw .unsupported("its layer was converted with a chunk dictionary")
                }
            } catch {
                throw error.at("blob \(blob.digest)")
            }
        }
    }

    private static func merge(
        _ blobs: ArraySlice<Descriptor>,
        of base: any ImageSource,
        _ limits: LayerLimits
    ) throws -> BootstrapLayer {
        var layers: [ConvertedLayer] = []
        var form: (chunkSize: UInt32, flags: BootstrapFlags)?
        for blob in blobs {
            let source = try base.blobSource(blob)
            do throws(ContentError) {
                let metadata = try LayerMetadata(
                    source,
                    limits: BootstrapLimits(names: UInt64(limits.entries), depth: limits.depth)
                )
                guard form == nil || form?.chunkSize == metadata.chunkSize else {
                    throw .unsupported(
                        "its chunks have another size than those of the layers below"
                    )
                }
                form = form ?? (metadata.chunkSize, metadata.flags)
                layers.append(ConvertedLayer(blob, metadata))
            } catch {
                throw error.at("blob \(blob.digest)")
            }
        }
        let merged = try MergedImage(layers, limits: limits)
        let bootstrap = try merged.bootstrap(
            chunkSize: form?.chunkSize ?? 1 << 20,
            flags: form?.flags ?? BootstrapWriter.flags(.zstd, blobs: [])
        )
        return try BootstrapLayer(merged, bootstrap: bootstrap)
    }

    package func resolve() throws -> ResolvedImage { image }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        guard blob == bootstrap else { return try base.openBlob(blob) }
        return AnyByteStream(ArrayStream(bootstrapLayer.gzip))
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        // The bootstrap's layer is only ever read from its start.
        try base.blobSource(blob)
    }
}

extension Descriptor {
    /// Names bytes.
    fileprivate static func naming(_ bytes: [UInt8], as mediaType: MediaType) -> Descriptor {
        Descriptor(
            mediaType: mediaType,
            digest: StreamingDigest.digest(of: bytes),
            size: UInt64(bytes.count)
        )
    }
}

extension ConvertedLayer {
    /// A layer that was converted some time ago, as its blob describes it.
    init(_ blob: Descriptor, _ metadata: LayerMetadata) {
        self.init(
            blob: blob,
            entry: metadata.entry,
            chunks: metadata.chunks,
            chunkInfoFile: metadata.chunkInfoFile,
            tree: metadata.tree,
            warnings: []
        )
    }
}
