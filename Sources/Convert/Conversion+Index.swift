// SPDX-License-Identifier: Apache-2.0

import Content
package import Distribution
package import OCI

/// What a conversion to an index made.
package struct IndexReport: Sendable {
    /// Names the index.
    package var index: Descriptor
    /// What was made of each image, in the order of the source.
    package var images: [ConversionReport]
}

extension Conversion {
    /// Converts to an index: images of several platforms, or images beside their conversions.
    ///
    /// - Parameters:
    ///   - allPlatforms: whether to convert all images the source names; attestations among them
    ///     are copied as they are, older conversions are left out. Else the one it stands for.
    ///   - keepsOriginals: whether to copy each image, too, and to put it before its conversion:
    ///     containerd before 2.1 takes the first that fits the platform. The conversion is marked
    ///     by its artifactType, and its configuration keeps its media type.
    ///   - progress: told how far the work on each image is; called from several threads.
    /// - Returns: what was made.
    /// - Throws: an error that says what failed; the destination then has no such tag.
    package func runIndex(
        allPlatforms: Bool,
        keepsOriginals: Bool,
        progress: @escaping @Sendable (LayerProgress) -> Void = { _ in }
    ) throws -> IndexReport {
        var index = Index()
        var reports: [ConversionReport] = []
        // An index may name one image many times, under different platforms or the same.
        var done: [Digest: ConversionReport] = [:]
        let manifests = allPlatforms ? try source.manifests() : [try source.resolve().descriptor]
        for manifest in manifests where !allPlatforms || !manifest.isMarkedAsConverted {
            if manifest.isAttestation {
                index.manifests.append(try copy(try source.attestation(manifest), as: manifest))
                continue
            }
            let image = try source.resolve(manifest)
            // An older conversion that has lost its mark.
            if allPlatforms, image.manifest.bootstrapLayer != nil { continue }
            var original = manifest
            // The tag is the source's.
            original.annotations = original.annotations
                .filter { $0.key != "org.opencontainers.image.ref.name" }
            original.otherFields["platform"] =
                manifest.otherFields["platform"] ?? image.config.platform.json
            if keepsOriginals { index.manifests.append(try copy(image, as: original)) }
            let known = done[manifest.digest]
            let report = try known ?? convert(image, tag: nil, progress: progress)
            done[manifest.digest] = report
            var converted = report.manifest
            converted.otherFields["platform"] = original.otherFields["platform"]
            if keepsOriginals {
                converted.otherFields["artifactType"] = .string(NydusConvention.artifactType)
            }
            index.manifests.append(converted)
            if known == nil { reports.append(report) }
        }
        guard !reports.isEmpty else {
            throw ContentError(.notFound, "\(source.name): holds no image to convert")
        }
        let descriptor = try destination.put(
            manifest: index.json.serialized(),
            mediaType: .index,
            tag: tag
        )
        return IndexReport(index: descriptor, images: reports)
    }

    /// Makes an index over each image's layers as they are, attached to the image by its subject:
    /// no tag changes.
    ///
    /// - Parameters:
    ///   - allPlatforms: whether to take all images the source names, else the one it stands for.
    ///   - copiesImages: whether to put the images there as well, where they are not; a single one
    ///     gets the tag. Else their layers are expected to be where they are.
    ///   - progress: told how far the work on each image is; called from several threads.
    /// - Returns: what was made.
    /// - Throws: an error that says what failed.
    package func runAttached(
        allPlatforms: Bool,
        copiesImages: Bool,
        progress: @escaping @Sendable (LayerProgress) -> Void = { _ in }
    ) throws -> [ConversionReport] {
        let manifests = allPlatforms ? try source.manifests() : [try source.resolve().descriptor]
        var reports: [ConversionReport] = []
        for manifest in manifests where !manifest.isAttestation && !manifest.isMarkedAsConverted {
            let image = try source.resolve(manifest)
            if allPlatforms, image.manifest.bootstrapLayer != nil { continue }
            if copiesImages {
                _ = try copy(
                    DocumentedManifest(bytes: image.manifestBytes, manifest: image.manifest),
                    as: manifest,
                    tag: allPlatforms ? nil : tag
                )
            }
            reports.append(try convert(image, tag: nil, progress: progress))
        }
        guard !reports.isEmpty else {
            throw ContentError(.notFound, "\(source.name): holds no image to convert")
        }
        return reports
    }

    /// Copies an image with all its blobs, each verified.
    private func copy(_ image: ResolvedImage, as descriptor: Descriptor) throws -> Descriptor {
        try copy(
            DocumentedManifest(bytes: image.manifestBytes, manifest: image.manifest),
            as: descriptor
        )
    }

    private func copy(
        _ document: DocumentedManifest,
        as descriptor: Descriptor,
        tag: String? = nil
    ) throws -> Descriptor {
        var copied: Set<Digest> = []
        for blob in [document.manifest.config] + document.manifest.layers
        where copied.insert(blob.digest).inserted {
            try destination.copyBlob(blob, from: source)
        }
        try destination.put(
            manifest: document.bytes,
            mediaType: document.manifest.mediaType,
            tag: tag
        )
        return descriptor
    }
}

/// A manifest and the bytes it was read from.
private struct DocumentedManifest {
    let bytes: [UInt8]
    let manifest: Manifest
}

extension ImageSource {
    /// A manifest that is no image's, verified.
    fileprivate func attestation(_ descriptor: Descriptor) throws -> DocumentedManifest {
        var stream = VerifyingStream(
            try openBlob(descriptor),
            digest: descriptor.digest,
            size: descriptor.size,
            object: "manifest \(descriptor.digest)"
        )
        let bytes = try stream.readAll(limit: JSONValue.documentLimit)
        return DocumentedManifest(
            bytes: bytes,
            manifest: try Manifest(parsing: bytes, mediaType: descriptor.mediaType)
        )
    }
}
