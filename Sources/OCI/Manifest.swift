// SPDX-License-Identifier: Apache-2.0

package import Content

/// One image: its configuration and its layers (image-spec, "OCI Image Manifest"; Docker's
/// schema 2 has the same fields).
package struct Manifest: Sendable, Equatable {
    /// Which of the two kinds of manifest it is.
    package var mediaType: MediaType
    /// The image configuration.
    package var config: Descriptor
    /// The layers, lowest first.
    package var layers: [Descriptor]
    /// Annotations by key.
    package var annotations: [String: String]
    /// All other fields, such as `subject` and `artifactType`, as they came.
    package var otherFields: [String: JSONValue]

    /// A manifest with the values.
    package init(
        mediaType: MediaType = .manifest,
        config: Descriptor,
        layers: [Descriptor],
        annotations: [String: String] = [:],
        otherFields: [String: JSONValue] = [:]
    ) {
        self.mediaType = mediaType
        self.config = config
        self.layers = layers
        self.annotations = annotations
        self.otherFields = otherFields
    }

    /// The manifest in the text.
    ///
    /// - Parameters:
    ///   - bytes: JSON, at most 4 MiB.
    ///   - expected: the media type of the descriptor that led here.
    /// - Throws: `ContentError` that names the field.
    package init(parsing bytes: [UInt8], mediaType expected: MediaType) throws(ContentError) {
        let document = try JSONValue(parsing: bytes, document: "manifest")
        var fields = try JSONFields(document, place: "manifest")
        try fields.checkSchemaVersion()
        mediaType = try checkedMediaType(&fields, expected, foreignField: "manifests")
        guard mediaType.isManifest else {
            throw .unsupported("manifest: media type \(mediaType) is not supported")
        }
        guard let config = fields.take("config") else {
            throw .corrupt("manifest: config: missing")
        }
        self.config = try Descriptor(config, place: "manifest: config")
        layers = try fields.descriptors("layers")
        annotations = try fields.strings("annotations")
        otherFields = fields.rest
    }

    /// The manifest that this one refers to; nil if it refers to none, or to nothing that is one.
    package var subject: Descriptor? {
        otherFields["subject"].flatMap { try? Descriptor($0, place: "manifest: subject") }
    }

    /// The manifest as text; equal manifests give equal bytes.
    package func serialized() -> [UInt8] {
        var fields = otherFields
        fields["schemaVersion"] = .integer(2)
        fields["mediaType"] = .string(mediaType.text)
        fields["config"] = config.json
        fields["layers"] = .array(layers.map(\.json))
        fields.set("annotations", annotations)
        return JSONValue.object(fields).serialized()
    }
}

/// Several manifests under one name, or a whole layout's (image-spec, "OCI Image Index").
package struct Index: Sendable, Equatable {
    /// Which of the two kinds of index it is.
    package var mediaType: MediaType
    /// The manifests.
    package var manifests: [Descriptor]
    /// Annotations by key.
    package var annotations: [String: String]
    /// All other fields as they came.
    package var otherFields: [String: JSONValue]

    /// An index of nothing.
    package init() {
        mediaType = .index
        manifests = []
        annotations = [:]
        otherFields = [:]
    }

    /// The index in the text.
    ///
    /// - Parameters:
    ///   - bytes: JSON, at most 4 MiB.
    ///   - expected: the media type of the descriptor that led here.
    ///   - document: what it is, for the error: `index`, `index.json`.
    /// - Throws: `ContentError` that names the field.
    package init(
        parsing bytes: [UInt8],
        mediaType expected: MediaType = .index,
        document: String = "index"
    ) throws(ContentError) {
        let value = try JSONValue(parsing: bytes, document: document)
        var fields = try JSONFields(value, place: document)
        try fields.checkSchemaVersion()
        mediaType = try checkedMediaType(&fields, expected, foreignField: "layers")
        guard mediaType.isIndex else {
            throw .unsupported("\(document): media type \(mediaType) is not supported")
        }
        manifests = try fields.descriptors("manifests")
        annotations = try fields.strings("annotations")
        otherFields = fields.rest
    }

    /// The index as a JSON object.
    package var json: JSONValue {
        var fields = otherFields
        fields["schemaVersion"] = .integer(2)
        fields["mediaType"] = .string(mediaType.text)
        fields["manifests"] = .array(manifests.map(\.json))
        fields.set("annotations", annotations)
        return .object(fields)
    }
}

/// The document's media type, which must be the one its descriptor gives.
///
/// A document that could be read as manifest and as index is refused: two programs that disagree
/// about it would run different images under one digest (CVE-2021-41190).
private func checkedMediaType(
    _ fields: inout JSONFields,
    _ expected: MediaType,
    foreignField: String
) throws(ContentError) -> MediaType {
    let own = try fields.string("mediaType").map { MediaType($0) }
    guard own == nil || own == expected else {
        throw .corrupt("\(fields.path("mediaType")): \(own ?? expected), expected \(expected)")
    }
    guard fields.rest[foreignField] == nil else {
        throw .corrupt("\(fields.path(foreignField)): not allowed in a document of \(expected)")
    }
    return expected
}
