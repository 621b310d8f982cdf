// SPDX-License-Identifier: Apache-2.0
//
// OCI: the documents of image-spec 1.1 and of Docker's schema 2 as values. Bytes in, values out;
// what is not understood is kept as it came.

package import Content
import FoundationEssentials

/// Any JSON value: what this program does not interpret passes through as one of these.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A whole number that fits.
    case integer(Int64)
    /// A whole number beyond `Int64.max`.
    case unsigned(UInt64)
    /// Any other number.
    case double(Double)
    case string(String)
    indirect case array([JSONValue])
    indirect case object([String: JSONValue])

    /// The largest document that is read, in bytes: 4 MiB, as registries and containerd hold it.
    package static let documentLimit = 4 << 20

    /// The value in the text.
    ///
    /// - Parameters:
    ///   - bytes: JSON in UTF-8.
    ///   - document: what the text is, for the error: `manifest`.
    /// - Throws: `ContentError` if it is too large or not JSON.
    package init(parsing bytes: [UInt8], document: String) throws(ContentError) {
        guard bytes.count <= Self.documentLimit else {
            throw ContentError(
                .limitExceeded,
                "\(document): \(bytes.count) bytes, at most \(Self.documentLimit) are accepted"
            )
        }
        do {
            self = try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
        } catch {
            throw .corrupt("\(document): not JSON: \(Self.reason(of: error))")
        }
    }

    /// The value as text: keys sorted, no blanks, slashes as they are.
    ///
    /// Equal values give equal text.
    ///
    /// - Throws: `ContentError` for a number that JSON cannot express.
    package func serialized() throws(ContentError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(self))
        } catch {
            throw .corrupt("cannot be written as JSON: \(error)")
        }
    }

    private static func reason(of error: any Error) -> String {
        guard case DecodingError.dataCorrupted(let context) = error else { return "\(error)" }
        let text = context.underlyingError.map { "\($0)" } ?? context.debugDescription
        return text.split(whereSeparator: \.isNewline).joined(separator: " ")
    }
}

extension JSONValue: Codable {
    package init(from decoder: any Decoder) throws {
        // Objects and strings first: each refused attempt costs an error value.
        if let object = try? decoder.container(keyedBy: Key.self) {
            var values: [String: JSONValue] = [:]
            for key in object.allKeys {
                values[key.stringValue] = try object.decode(JSONValue.self, forKey: key)
            }
            self = .object(values)
            return
        }
        if var array = try? decoder.unkeyedContainer() {
            var values: [JSONValue] = []
            while !array.isAtEnd { values.append(try array.decode(JSONValue.self)) }
            self = .array(values)
            return
        }
        let value = try decoder.singleValueContainer()
        if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let integer = try? value.decode(Int64.self) {
            self = .integer(integer)
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if value.decodeNil() {
            self = .null
        } else if let unsigned = try? value.decode(UInt64.self) {
            self = .unsigned(unsigned)
        } else {
            self = .double(try value.decode(Double.self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .object(let values):
            var container = encoder.container(keyedBy: Key.self)
            for (key, value) in values { try container.encode(value, forKey: Key(key)) }
        case .array(let values):
            var container = encoder.unkeyedContainer()
            for value in values { try container.encode(value) }
        case .null:
            var container = encoder.singleValueContainer()
            try container.encodeNil()
        case .bool(let value): try Self.encode(value, to: encoder)
        case .integer(let value): try Self.encode(value, to: encoder)
        case .unsigned(let value): try Self.encode(value, to: encoder)
        case .double(let value): try Self.encode(value, to: encoder)
        case .string(let value): try Self.encode(value, to: encoder)
        }
    }

    private static func encode(_ value: some Encodable, to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }

    /// Any text as a key.
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(_ text: String) { stringValue = text }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}
