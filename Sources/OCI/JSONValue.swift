// SPDX-License-Identifier: Apache-2.0
//
// OCI: the documents of image-spec 1.1 and of Docker's schema 2 as values. Bytes in, values out;
// what is not understood is kept as it came.

package import Content

/// Any JSON value: what this program does not interpret passes through as one of these.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A whole number that fits.
    case integer(Int64)
    /// Any other number, in the digits it came in.
    case number(String)
    case string(String)
    indirect case array([JSONValue])
    indirect case object([String: JSONValue])

    /// A whole number that is not negative.
    package static func unsigned(_ value: UInt64) -> JSONValue {
        Int64(exactly: value).map { .integer($0) } ?? .number(String(value))
    }

    /// A number; null for infinity and what is no number, which JSON cannot express.
    package static func double(_ value: Double) -> JSONValue {
        value.isFinite ? .number("\(value)") : .null
    }

    /// The largest document that is read, in bytes: 4 MiB, as registries and containerd hold it.
    package static let documentLimit = 4 << 20

    /// The value in the text.
    ///
    /// - Parameters:
    ///   - bytes: JSON (RFC 8259) in UTF-8.
    ///   - document: what the text is, for the error: `manifest`.
    /// - Throws: `ContentError` if it is too large, not JSON, nested more than 256 deep, or has an
    ///   object with two fields of one name.
    package init(parsing bytes: [UInt8], document: String) throws(ContentError) {
        guard bytes.count <= Self.documentLimit else {
            throw ContentError(
                .limitExceeded,
                "\(document): \(bytes.count) bytes, at most \(Self.documentLimit) are accepted"
            )
        }
        var parser = JSONParser(bytes)
        do throws(ContentError) {
            self = try parser.document()
        } catch {
            throw error.at("\(document): not JSON")
        }
    }

    /// The value as text: keys sorted by their bytes, no blanks, slashes as they are.
    ///
    /// Equal values give equal text.
    package func serialized() -> [UInt8] {
        var text: [UInt8] = []
        append(to: &text)
        return text
    }

    private func append(to text: inout [UInt8]) {
        switch self {
        case .null: text += "null".utf8
        case .bool(let value): text += (value ? "true" : "false").utf8
        case .integer(let value): text += String(value).utf8
        case .number(let digits): text += digits.utf8
        case .string(let value): Self.append(value, to: &text)
        case .array(let values):
            text.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                value.append(to: &text)
            }
            text.append(UInt8(ascii: "]"))
        case .object(let values):
            text.append(UInt8(ascii: "{"))
            let sorted = values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            for (index, field) in sorted.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                Self.append(field.key, to: &text)
                text.append(UInt8(ascii: ":"))
                field.value.append(to: &text)
            }
            text.append(UInt8(ascii: "}"))
        }
    }

    private static func append(_ string: String, to text: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        text.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
            case 0x0a: text += "\\n".utf8
            case 0x0d: text += "\\r".utf8
            case 0x09: text += "\\t".utf8
            case ..<0x20: text += "\\u00".utf8 + [digits[Int(byte >> 4)], digits[Int(byte & 0xf)]]
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }
}
