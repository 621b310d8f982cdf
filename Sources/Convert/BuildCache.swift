// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
package import Distribution
import OCI

/// Layers that were converted before, in the same way: they are not converted again.
///
/// What a converted layer comes from stands in an annotation of its manifest. It is believed: who
/// may write an image that is named as a cache may as well write the new one.
package struct BuildCache: Sendable {
    /// A layer and the image it belongs to.
    struct Layer: Sendable {
        let blob: Descriptor
        let source: any ImageSource
    }

    private var layers: [Digest: Layer] = [:]

    /// A cache without layers.
    package static let empty = BuildCache()

    private init() {}

    /// The layers of converted images, all platforms'.
    ///
    /// - Parameters:
    ///   - images: the images, the one to take a layer from first; one that does not exist has no
    ///     layers.
    ///   - target: what is to be replaced, asked first: whatever it may be, it is no error.
    /// - Throws: an error if an image of the list cannot be read.
    package init(_ images: [any ImageSource], target: (any ImageSource)?) throws {
        if let target { try? add(target) }
        for image in images {
            do {
                try add(image)
            } catch let error as ContentError where error.kind == .notFound {
                // The first time there is none yet.
                continue
            }
        }
    }

    private mutating func add(_ source: any ImageSource) throws {
        for manifest in try source.manifests() where !manifest.isAttestation {
            // An image beside its conversion, or something that is no image.
            guard let image = try? source.resolve(manifest) else { continue }
            for blob in image.manifest.dataBlobs {
                guard
                    let key = blob.annotations[LayerKey.annotation].flatMap({ Digest(oci: $0) }),
                    layers[key] == nil
                else { continue }
                layers[key] = Layer(blob: blob, source: source)
            }
        }
    }

    /// The layer that was converted from the same in the same way; nil if there is none.
    func layer(_ key: Digest) -> Layer? { layers[key] }
}

/// What a converted layer depends on, as a digest.
enum LayerKey {
    /// The annotation that says it, on the layer's descriptor.
    static let annotation = "lazypull.conversion.key"

    /// Raised whenever the same layer, converted in the same way, gets other bytes.
    private static let form = 1

    /// The key of a layer.
    ///
    /// - Parameters:
    ///   - layer: names the source's layer.
    ///   - diffID: the digest of its tar.
    ///   - options: how it is converted.
    /// - Returns: the key; nil with a chunk dictionary: the layer then depends on that as well.
    static func key(
        of layer: Descriptor,
        _ diffID: Digest,
        _ options: ConversionOptions
    ) -> Digest? {
        guard options.dictionary.blobs.isEmpty, options.spanSize == nil else { return nil }
        var lines = [
            "lazypull layer \(form)", diffID.oci, "chunks \(options.chunkSize)",
        ]
        if let level = options.compressionLevel {
            // Another version may compress the same to other bytes.
            lines.append("zstd \(ChunkCompressor.libraryVersion) \(level)")
        }
        // A list without names moves nothing: the layer is the one that no list makes.
        if let prefetch = options.prefetch, !prefetch.entries.isEmpty {
            lines.append("prefetch \(prefetch.digest)")
        }
        return StreamingDigest.digest(of: Array(lines.joined(separator: "\n").utf8))
    }
}

extension PrefetchList {
    /// The digest of what the list says, in whichever form it was said.
    fileprivate var digest: Digest {
        var hash = StreamingDigest()
        for entry in entries {
            hash.update(entry.path.rawSpan)
            let ranges = entry.ranges?.map { "\($0.lowerBound)-\($0.upperBound)" } ?? ["all"]
            let text = Array("\0\(ranges.joined(separator: ","))\n".utf8)
            hash.update(text.rawSpan)
        }
        return hash.finish()
    }
}
