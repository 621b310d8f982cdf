// SPDX-License-Identifier: Apache-2.0

package import Content

/// An image's configuration (image-spec, "OCI Image Configuration"; Docker's has the same fields).
///
/// Only what concerns layers is interpreted; environment, entry point and all else pass through.
package struct ImageConfig: Sendable, Equatable {
    /// The digests of the layers' uncompressed tars, lowest first.
    package var diffIDs: [Digest]
    /// How the layers came about, oldest first, each an object as it came.
    package var history: [JSONValue]
    /// The platform the image is for.
    package let platform: Platform
    /// All other fields as they came.
    package var otherFields: [String: JSONValue]

    /// The configuration in the text.
    ///
    /// - Parameter bytes: JSON, at most 4 MiB.
    /// - Throws: `ContentError` that names the field.
    package init(parsing bytes: [UInt8]) throws(ContentError) {
        let document = try JSONValue(parsing: bytes, document: "image config")
        var fields = try JSONFields(document, place: "image config")
        guard let rootFileSystem = fields.take("rootfs") else {
            throw .corrupt("image config: rootfs: missing")
        }
        var rootFields = try JSONFields(rootFileSystem, place: "image config: rootfs")
        let type = try rootFields.string("type")
        guard type == nil || type == "layers" else {
            throw .unsupported("image config: rootfs.type: \(type ?? ""), only layers is supported")
        }
        diffIDs = []
        for (index, value) in (try rootFields.array("diff_ids") ?? []).enumerated() {
            let place = "image config: rootfs.diff_ids[\(index)]"
            guard case .string(let text) = value else { throw .corrupt("\(place): not a string") }
            diffIDs.append(try JSONFields.digest(text, place: place))
        }
        history = try fields.array("history") ?? []
        // Before the platform's fields are taken out: they are read here and kept as they came.
        otherFields = fields.rest
        platform = Platform(
            os: try fields.string("os") ?? "",
            architecture: try fields.string("architecture") ?? "",
            variant: try fields.string("variant") ?? ""
        )
    }

    /// Adds a history entry for a layer that is added on top.
    ///
    /// - Parameters:
    ///   - createdBy: the command, as `history` shows it.
    ///   - comment: a word on it; empty for none.
    package mutating func appendHistory(createdBy: String, comment: String = "") {
        history.append(Self.historyEntry(createdBy: createdBy, comment: comment))
    }

    /// Adds history entries for layers that are put below all others.
    ///
    /// - Parameters:
    ///   - count: how many layers.
    ///   - createdBy: the command, as `history` shows it.
    ///   - comment: a word on it; empty for none.
    package mutating func prependHistory(count: Int, createdBy: String, comment: String = "") {
        let entry = Self.historyEntry(createdBy: createdBy, comment: comment)
        history.insert(contentsOf: repeatElement(entry, count: max(0, count)), at: 0)
    }

    private static func historyEntry(createdBy: String, comment: String) -> JSONValue {
        var entry: [String: JSONValue] = ["created_by": .string(createdBy)]
        if !comment.isEmpty { entry["comment"] = .string(comment) }
        return .object(entry)
    }

    /// The configuration as text; equal configurations give equal bytes.
    package func serialized() -> [UInt8] {
        var fields = otherFields
        fields["rootfs"] = .object([
            "type": .string("layers"),
            "diff_ids": .array(diffIDs.map { .string($0.oci) }),
        ])
        if !history.isEmpty { fields["history"] = .array(history) }
        return JSONValue.object(fields).serialized()
    }
}
