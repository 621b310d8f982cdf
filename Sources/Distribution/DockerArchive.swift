// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
package import OCI

/// An image in an archive as `docker save` writes it (Docker Image Specification v1.2, "Combined
/// Image JSON + Filesystem Changeset Format"): `manifest.json` names a configuration and tars.
///
/// The archive has no manifest of the kind registries have; one is made that names configuration
/// and layers by their digests, the same for the same image every time.
package struct DockerArchive: ImageSource {
    package let name: String
    private let files: TarFiles
    private let image: ResolvedImage
    /// The archive's paths of the blobs.
    private let paths: [Digest: String]

    /// One image of manifest.json.
    private struct Entry {
        var config: String
        var tags: [String]
        var layers: [String]
    }

    /// The image in the archive; its headers, manifest and configuration are read.
    ///
    /// - Parameters:
    ///   - file: the archive's path.
    ///   - tag: which image is wanted, `repository:tag`, or its end; nil for the only one.
    ///   - selection: the platform it must be for, if one is asked for.
    /// - Throws: an error if the archive is no such one, or there is no such image.
    package init(
        file: String,
        tag: String?,
        selection: ImageSelection = ImageSelection()
    ) throws {
        let name = ImageName.dockerArchive(file: file, tag: tag).description
        let files = try TarFiles(file)
        self.name = name
        self.files = files
        let entry = try Self.find(tag, in: try Self.entries(files), name: name)
        let configBytes = try files.contents(of: entry.config, limit: JSONValue.documentLimit)
        let config = try ImageConfig(parsing: configBytes)
        try selection.check(config.platform, place: name)
        guard config.diffIDs.count == entry.layers.count else {
            throw ContentError.corrupt(
                "\(file): manifest.json names \(entry.layers.count) layers, the configuration"
                    + " \(config.diffIDs.count)"
            )
        }
        let configDigest = StreamingDigest.digest(of: configBytes)
        // The configuration is named by its digest: the one document that can be verified.
        let configName = entry.config.split(separator: "/").last.map(String.init) ?? ""
        let stem = configName.hasSuffix(".json") ? String(configName.dropLast(5)) : configName
        if let named = Digest(hex: stem), named != configDigest {
            throw ContentError.corrupt(
                "\(file)/\(entry.config): digest mismatch: expected \(named), found"
                    + " \(configDigest)"
            )
        }
        var paths: [Digest: String] = [:]
        let layers = try zip(entry.layers, config.diffIDs).map { path, diffID in
            let layer = try Self.layer(path, diffID: diffID, in: files)
            paths[layer.digest] = path
            return layer
        }
        self.paths = paths
        image = try Self.image(configBytes, configDigest, layers)
    }

    private static func image(
        _ configBytes: [UInt8],
        _ configDigest: Digest,
        _ layers: [Descriptor]
    ) throws -> ResolvedImage {
        let manifest = Manifest(
            mediaType: .dockerManifest,
            config: Descriptor(
                mediaType: .dockerConfig,
                digest: configDigest,
                size: UInt64(configBytes.count)
            ),
            layers: layers
        ).serialized()
        return try ResolvedImage(
            descriptor: Descriptor(
                mediaType: .dockerManifest,
                digest: StreamingDigest.digest(of: manifest),
                size: UInt64(manifest.count)
            ),
            manifestBytes: manifest
        ) { _ in configBytes }
    }

    package func resolve() throws -> ResolvedImage { image }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        // The one was made here, the other is kept.
        if blob.digest == image.descriptor.digest {
            return AnyByteStream(ArrayStream(image.manifestBytes))
        }
        if blob.digest == image.manifest.config.digest {
            return AnyByteStream(ArrayStream(image.configBytes))
        }
        return try files.open(path(blob), expectedSize: blob.size)
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        try files.source(path(blob), expectedSize: blob.size)
    }

    private func path(_ blob: Descriptor) throws(ContentError) -> String {
        guard let path = paths[blob.digest] else {
            throw ContentError(.notFound, "\(name): no blob \(blob.digest)")
        }
        return path
    }

    /// Describes a layer: a plain tar has its diffID for a digest, a compressed one is read once.
    private static func layer(
        _ path: String,
        diffID: Digest,
        in files: TarFiles
    ) throws(ContentError) -> Descriptor {
        guard let extent = try files.extent(of: path) else {
            throw ContentError(.notFound, "\(files.place): no file \(path) in the archive")
        }
        var stream = BufferedStream(try files.open(path, expectedSize: nil))
        _ = try stream.fill(atLeast: 4)
        let compression = LayerCompression(magicOf: stream.buffered)
        let mediaType: MediaType
        switch compression {
        case .none:
            return Descriptor(mediaType: .dockerLayer, digest: diffID, size: extent.size)
        case .gzip: mediaType = .dockerLayerGzip
        case .zstd: mediaType = .dockerLayerZstd
        }
        var digest = StreamingDigest()
        while true {
            let count = try stream.fill(atLeast: 1)
            guard count > 0 else { break }
            digest.update(stream.buffered)
            stream.consume(count)
        }
        return Descriptor(mediaType: mediaType, digest: digest.finish(), size: extent.size)
    }

    private static func entries(_ files: TarFiles) throws(ContentError) -> [Entry] {
        let bytes: [UInt8]
        do throws(ContentError) {
            bytes = try files.contents(of: "manifest.json", limit: JSONValue.documentLimit)
        } catch {
            guard error.kind == .notFound else { throw error }
            throw ContentError(
                .notFound,
                "\(files.place): not as `docker save` writes it: no file manifest.json"
            )
        }
        let document = "\(files.place)/manifest.json"
        guard case .array(let values) = try JSONValue(parsing: bytes, document: document) else {
            throw .corrupt("\(document): not an array")
        }
        var entries: [Entry] = []
        for (index, value) in values.enumerated() {
            guard case .object(let fields) = value, case .string(let config)? = fields["Config"],
                let layers = strings(fields["Layers"]), let tags = strings(fields["RepoTags"])
            else { throw .corrupt("\(document)[\(index)]: no Config, Layers and RepoTags") }
            entries.append(Entry(config: config, tags: tags, layers: layers))
        }
        return entries
    }

    /// The strings of an array; none for null, which Go writes for an empty one.
    private static func strings(_ value: JSONValue?) -> [String]? {
        guard let value, value != .null else { return [] }
        guard case .array(let values) = value else { return nil }
        let strings = values.compactMap { if case .string(let text) = $0 { text } else { nil } }
        return strings.count == values.count ? strings : nil
    }

    private static func find(
        _ tag: String?,
        in entries: [Entry],
        name: String
    ) throws(ContentError) -> Entry {
        var found = entries
        if let tag {
            found = entries.filter { entry in
                entry.tags.contains {
                    $0 == tag || $0.hasSuffix(":\(tag)") || $0.hasSuffix("/\(tag)")
                }
            }
        }
        guard let first = found.first, found.allSatisfy({ $0.config == first.config }) else {
            let tags = entries.flatMap(\.tags).prefix(20)
            throw ContentError(
                found.isEmpty ? .notFound : .unsupported,
                "\(name): names \(found.count) images; "
                    + (tags.isEmpty ? "there are no tags" : "tags: \(tags.joined(separator: ", "))")
            )
        }
        return first
    }
}
