// SPDX-License-Identifier: Apache-2.0

/// For documents of which little is read and nothing is kept.
extension JSONValue {
    /// The field of that name; nil if there is none, or this is no object.
    package subscript(name: String) -> JSONValue? {
        guard case .object(let fields) = self else { return nil }
        return fields[name]
    }

    /// The string; nil if this is none.
    package var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The values of an array; empty if this is none.
    package var items: [JSONValue] {
        guard case .array(let values) = self else { return [] }
        return values
    }
}
