// SPDX-License-Identifier: Apache-2.0

package import Content

/// Names a blob: media type, digest, size (image-spec, "OCI Content Descriptors").
package struct Descriptor: Sendable, Equatable {
    /// What the blob is.
    package var mediaType: MediaType
    /// The blob's digest.
    package var digest: Digest
    /// The blob's size in bytes.
    package var size: UInt64
    /// Annotations by key.
    package var annotations: [String: String]
    /// All other fields, such as `urls`, `platform` and `artifactType`, as they came.
    package var otherFields: [String: JSONValue]

    /// A descriptor with the values.
    package init(
        mediaType: MediaType,
        digest: Digest,
        size: UInt64,
        annotations: [String: String] = [:],
        otherFields: [String: JSONValue] = [:]
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.annotations = annotations
        self.otherFields = otherFields
    }

    /// The descriptor in a JSON object.
    ///
    /// - Parameters:
    ///   - value: the object.
    ///   - place: where it stands, for the error: `manifest: layers[2]`.
    /// - Throws: `ContentError` that names the field.
    package init(_ value: JSONValue, place: String) throws(ContentError) {
        var fields = try JSONFields(value, place: place)
        mediaType = MediaType(try fields.requiredString("mediaType"))
        digest = try fields.digest("digest")
        guard let size = try fields.integer("size"), size >= 0 else {
            throw .corrupt("\(fields.path("size")): missing or negative")
        }
        self.size = UInt64(size)
        annotations = try fields.strings("annotations")
        otherFields = fields.rest
    }

    /// The descriptor as a JSON object.
    package var json: JSONValue {
        var fields = otherFields
        fields["mediaType"] = .string(mediaType.text)
        fields["digest"] = .string(digest.oci)
        fields["size"] = .unsigned(size)
        fields.set("annotations", annotations)
        return .object(fields)
    }

    /// The platform it is for; nil if it names none or not in words.
    package var platform: Platform? {
        guard case .object(let fields)? = otherFields["platform"],
            case .string(let os)? = fields["os"],
            case .string(let architecture)? = fields["architecture"]
        else { return nil }
        guard case .string(let variant)? = fields["variant"] else {
            return Platform(os: os, architecture: architecture)
        }
        return Platform(os: os, architecture: architecture, variant: variant)
    }
}

/// What a machine must be to run an image, in Go's words: `linux`, `amd64`.
package struct Platform: Sendable, Hashable, CustomStringConvertible {
    /// The operating system.
    package var os: String
    /// The processor architecture.
    package var architecture: String
    /// The architecture's variant, such as `v8`; empty if there is none.
    package var variant: String

    /// The platform with the values.
    package init(os: String, architecture: String, variant: String = "") {
        self.os = os
        self.architecture = architecture
        self.variant = variant
    }

    /// The platform in the text, `os/architecture[/variant]`; nil if it is none.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(parts.count), !parts.contains("") else { return nil }
        self.init(
            os: parts[0],
            architecture: parts[1],
            variant: parts.count > 2 ? parts[2] : ""
        )
    }

    /// The platform as descriptors have it.
    package var json: JSONValue {
        var fields = ["os": JSONValue.string(os), "architecture": .string(architecture)]
        if !variant.isEmpty { fields["variant"] = .string(variant) }
        return .object(fields)
    }

    #if arch(x86_64)
    /// The platform this program runs on.
    package static let current = Platform(os: "linux", architecture: "amd64")
    #elseif arch(arm64)
    /// The platform this program runs on.
    package static let current = Platform(os: "linux", architecture: "arm64")
    #endif

    package var description: String {
        "\(os)/\(architecture)\(variant.isEmpty ? "" : "/\(variant)")"
    }
}
