// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
package import Distribution
package import Layers
import Linux
package import OCI

/// The first layers of an ordinary image, by an index that is made over them here.
///
/// An index over a whole image says nothing of some of its layers alone, and only containers of
/// another image with the same lower layers want them: they are read once, front to back, verified
/// by that image's own configuration. The data stays where it is.
package final class IndexPrefix: ImageSource {
    package let name: String
    private let original: any ImageSource
    private let layout: OCILayout
    private let image: ResolvedImage

    /// Much as `convert` has it.
    private static let spanSize: UInt64 = 4 << 20

    /// Whether an image is an index over another one's layers.
    ///
    /// - Parameter image: the image.
    /// - Returns: whether it is, and names that image.
    /// - Throws: an error if it cannot be read.
    package static func isIndex(_ image: any ImageSource) throws -> Bool {
        let manifest = try image.resolve().manifest
        return manifest.subject != nil && manifest.layers.contains { $0.originalLayer != nil }
    }

    /// Reads the layers, and makes the index.
    ///
    /// - Parameters:
    ///   - whole: the index over the whole image; it has that image's blobs, too.
    ///   - count: how many layers, at least 1.
    ///   - directory: where the index is kept as long as this lives; made anew.
    ///   - threads: how many layers are read at once.
    ///   - limits: what they may cost.
    /// - Throws: an error that names the layer which cannot be had, or is wrong.
    package init(
        of whole: any ImageSource,
        layers count: Int,
        in directory: String,
        threads: Int,
        limits: LayerLimits
    ) throws {
        name = "\(whole.name) (\(count) layers)"
        original = whole
        layout = OCILayout(directory: directory, tag: nil)
        let subject = try FirstLayers(of: whole, count: count, name: name)
        do {
            let conversion = Conversion(
                from: subject,
                to: layout,
                tag: "",
                options: ConversionOptions(
                    threads: threads,
                    limits: limits,
                    spanSize: Self.spanSize
                )
            )
            let reports = try conversion.runAttached(allPlatforms: false, copiesImages: false)
            image = try layout.resolve(reports[0].manifest)
        } catch {
            Self.remove(directory)
            throw error
        }
    }

    deinit { Self.remove(layout.directory) }

    /// What cannot be removed is junk, which the caller clears away at its next start.
    private static func remove(_ directory: String) {
        _ = try? Trash.empty(directory) { true }
        try? FileSystem.removeDirectory(directory)
    }

    package func resolve() throws -> ResolvedImage { image }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        layout.hasBlob(blob) ? try layout.openBlob(blob) : try original.openBlob(blob)
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        layout.hasBlob(blob) ? try layout.blobSource(blob) : try original.blobSource(blob)
    }
}

/// An ordinary image without its upper layers.
private struct FirstLayers: ImageSource {
    let name: String
    private let base: any ImageSource
    private let image: ResolvedImage

    /// The first layers of an index's subject.
    init(of index: any ImageSource, count: Int, name: String) throws {
        guard let subject = try index.resolve().manifest.subject else {
            throw ContentError.unsupported("\(index.name): it names no image that it is made of")
        }
        let whole = try ResolvedImage(
            descriptor: subject,
            manifestBytes: try Self.document(subject, of: index)
        ) { config in try Self.document(config, of: index) }
        guard (1...max(1, whole.manifest.layers.count)).contains(count) else {
            throw ContentError(
                .notFound,
                "\(index.name): its image has \(whole.manifest.layers.count) layers, not \(count)"
            )
        }
        var config = whole.config
        config.diffIDs = Array(config.diffIDs.prefix(count))
        let configBytes = config.serialized()
        var manifest = whole.manifest
        manifest.layers = Array(manifest.layers.prefix(count))
        manifest.config.digest = StreamingDigest.digest(of: configBytes)
        manifest.config.size = UInt64(configBytes.count)
        let bytes = manifest.serialized()
        image = try ResolvedImage(
            descriptor: Descriptor(
                mediaType: manifest.mediaType,
                digest: StreamingDigest.digest(of: bytes),
                size: UInt64(bytes.count)
            ),
            manifestBytes: bytes
        ) { _ in configBytes }
        base = index
        self.name = name
    }

    private static func document(
        _ descriptor: Descriptor,
        of source: any ImageSource
    ) throws -> [UInt8] {
        var stream = VerifyingStream(
            try source.openBlob(descriptor),
            digest: descriptor.digest,
            size: descriptor.size,
            object: "\(descriptor.mediaType) \(descriptor.digest)"
        )
        return try stream.readAll(limit: JSONValue.documentLimit)
    }

    func resolve() throws -> ResolvedImage { image }

    func openBlob(_ blob: Descriptor) throws -> AnyByteStream { try base.openBlob(blob) }

    func blobSource(_ blob: Descriptor) throws -> any BlobSource { try base.blobSource(blob) }
}
