// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// The documents of an image, and the names that people give: what parses is written and read
/// back as the same.
enum DocumentTarget {
    static func run(_ bytes: [UInt8]) {
        names(String(decoding: bytes.prefix(512), as: UTF8.self))
        guard let value = try? JSONValue(parsing: bytes, document: "it") else { return }
        let text = value.serialized()
        let again = try? JSONValue(parsing: text, document: "it")
        require(again == value, "JSON differs when read back: \(value)")
        manifests(bytes)
        if let index = try? Index(parsing: bytes) {
            for descriptor in index.manifests { describe(descriptor) }
            let text = index.json.serialized()
            require((try? Index(parsing: text)) == index, "an index differs when read back")
        }
        if let config = try? ImageConfig(parsing: bytes) {
            var again = try? ImageConfig(parsing: config.serialized())
            require(again == config, "a configuration differs when read back")
            again?.appendHistory(createdBy: "\"\u{0}", comment: "")
            _ = again?.serialized()
        }
    }

    private static func manifests(_ bytes: [UInt8]) {
        for type in [MediaType.manifest, .dockerManifest] {
            guard let manifest = try? Manifest(parsing: bytes, mediaType: type) else { continue }
            for descriptor in manifest.layers { describe(descriptor) }
            _ = manifest.bootstrapLayer
            _ = manifest.dataBlobs
            let again = try? Manifest(parsing: manifest.serialized(), mediaType: type)
            require(again == manifest, "a manifest differs when read back")
        }
    }

    private static func describe(_ descriptor: Descriptor) {
        _ = descriptor.platform?.description
        _ = try? LayerMediaType(descriptor.mediaType)
        require(
            (try? Descriptor(descriptor.json, place: "it")) == descriptor,
            "a descriptor differs when read back"
        )
    }

    private static func names(_ text: String) {
        for name in [text, "oci:\(text)"] {
            guard let image = try? ImageName(name) else { continue }
            require((try? ImageName(image.description)) == image, "\(name) differs when read back")
        }
        if let digest = Digest(oci: text) {
            require(digest.oci == text, "\(digest.oci) is not \(text)")
        }
    }
}
