// SPDX-License-Identifier: Apache-2.0

import Content

/// The fields of one JSON object, with its place in the document for messages.
struct JSONFields {
    /// The place: `manifest`, `manifest: layers[2]`.
    let place: String
    /// Fields nobody has asked for yet.
    private(set) var rest: [String: JSONValue]

    init(_ value: JSONValue, place: String) throws(ContentError) {
        guard case .object(let fields) = value else {
            throw .corrupt("\(place): not an object")
        }
        self.place = place
        rest = fields
    }

    private func wrong(_ key: String, _ expected: String) -> ContentError {
        .corrupt("\(path(key)): not \(expected)")
    }

    /// The field's place: `manifest: layers[2].digest`.
    func path(_ key: String) -> String {
        place.contains(":") ? "\(place).\(key)" : "\(place): \(key)"
    }

    /// Takes a field out; JSON's null counts as absent, as Go's decoder has it.
    mutating func take(_ key: String) -> JSONValue? {
        guard let value = rest.removeValue(forKey: key), value != .null else { return nil }
        return value
    }

    mutating func string(_ key: String) throws(ContentError) -> String? {
        guard let value = take(key) else { return nil }
        guard case .string(let text) = value else { throw wrong(key, "a string") }
        return text
    }

    mutating func requiredString(_ key: String) throws(ContentError) -> String {
        guard let text = try string(key) else { throw .corrupt("\(path(key)): missing") }
        return text
    }

    mutating func integer(_ key: String) throws(ContentError) -> Int64? {
        guard let value = take(key) else { return nil }
        guard case .integer(let number) = value else { throw wrong(key, "a whole number in range") }
        return number
    }

    mutating func array(_ key: String) throws(ContentError) -> [JSONValue]? {
        guard let value = take(key) else { return nil }
        guard case .array(let values) = value else { throw wrong(key, "an array") }
        return values
    }

    mutating func strings(_ key: String) throws(ContentError) -> [String: String] {
        guard let value = take(key) else { return [:] }
        guard case .object(let fields) = value else { throw wrong(key, "an object") }
        var result: [String: String] = [:]
        for (name, value) in fields {
            guard case .string(let text) = value else { throw wrong("\(key).\(name)", "a string") }
            result[name] = text
        }
        return result
    }

    mutating func digest(_ key: String) throws(ContentError) -> Digest {
        try Self.digest(try requiredString(key), place: path(key))
    }

    mutating func descriptors(_ key: String) throws(ContentError) -> [Descriptor] {
        guard let values = try array(key) else { throw .corrupt("\(path(key)): missing") }
        var result: [Descriptor] = []
        for (index, value) in values.enumerated() {
            result.append(try Descriptor(value, place: "\(path(key))[\(index)]"))
        }
        return result
    }

    /// Every image document is of schema 2; schema 1 is another format, long out of use.
    mutating func checkSchemaVersion() throws(ContentError) {
        guard let version = try integer("schemaVersion"), version != 2 else { return }
        throw .unsupported("\(path("schemaVersion")): \(version), only 2 is supported")
    }

    static func digest(_ text: String, place: String) throws(ContentError) -> Digest {
        if let digest = Digest(oci: text) { return digest }
        let isOtherAlgorithm = text.contains(":") && !text.hasPrefix("sha256:")
        throw isOtherAlgorithm
            ? .unsupported("\(place): only sha256 digests are supported, found \(text.prefix(160))")
            : .corrupt("\(place): no digest: \(text.prefix(160))")
    }
}

extension [String: JSONValue] {
    /// The object without fields whose value is nil or empty.
    mutating func set(_ key: String, _ strings: [String: String]) {
        self[key] = strings.isEmpty ? nil : .object(strings.mapValues { .string($0) })
    }
}
