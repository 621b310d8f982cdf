// SPDX-License-Identifier: Apache-2.0

import Content

/// Reads JSON (RFC 8259), strictly.
///
/// Not Foundation's decoder: through `Codable`, a value of any type is found by trying one type
/// after another, each refusal an error value, which took minutes for 4 MiB of `[1,1,1,…]`; and it
/// neither keeps numbers as they are nor tells two fields of one name. Of such fields programs
/// choose differently, so one digest could mean two images.
struct JSONParser {
    private static let depthLimit = 256

    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The one value of a document.
    mutating func document() throws(ContentError) -> JSONValue {
        let value = try value()
        skipBlanks()
        guard position == bytes.count else { throw wrong("expected the end") }
        return value
    }

    private func wrong(_ reason: String) -> ContentError {
        .corrupt("\(reason) at byte \(position)")
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
            position += 1
        }
    }

    /// Takes the byte if it is the next one after blanks.
    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        skipBlanks()
        guard next == UInt8(ascii: byte) else { return false }
        position += 1
        return true
    }

    private mutating func value() throws(ContentError) -> JSONValue {
        skipBlanks()
        guard let byte = next else { throw wrong("expected a value") }
        switch Unicode.Scalar(byte) {
        case "{": return .object(try nested { (self) throws(ContentError) in try self.object() })
        case "[": return .array(try nested { (self) throws(ContentError) in try self.array() })
        case "\"": return .string(try string())
        case "t": return try word("true", .bool(true))
        case "f": return try word("false", .bool(false))
        case "n": return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func nested<T>(
        _ body: (inout JSONParser) throws(ContentError) -> T
    ) throws(ContentError) -> T {
        guard depth < Self.depthLimit else { throw wrong("nested over \(Self.depthLimit) deep") }
        depth += 1
        position += 1
        let result = try body(&self)
        depth -= 1
        return result
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(ContentError) -> JSONValue
    {
        guard bytes[position...].starts(with: text.utf8) else { throw wrong("expected \(text)") }
        position += text.utf8.count
        return value
    }

    private mutating func array() throws(ContentError) -> [JSONValue] {
        var values: [JSONValue] = []
        if take("]") { return values }
        while true {
            values.append(try value())
            if take("]") { return values }
            guard take(",") else { throw wrong("expected , or ]") }
        }
    }

    private mutating func object() throws(ContentError) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [:]
        if take("}") { return fields }
        while true {
            skipBlanks()
            guard next == UInt8(ascii: "\"") else { throw wrong("expected a field's name") }
            let key = try string()
            guard take(":") else { throw wrong("expected :") }
            guard fields.updateValue(try value(), forKey: key) == nil else {
                throw wrong("second field '\(escapedText(of: key.utf8.prefix(80)))'")
            }
            if take("}") { return fields }
            guard take(",") else { throw wrong("expected , or }") }
        }
    }

    private mutating func number() throws(ContentError) -> JSONValue {
        let start = position
        var isWhole = true
        if next == UInt8(ascii: "-") { position += 1 }
        let first = next
        let count = digits()
        guard count == 1 || count > 1 && first != 0x30 else { throw wrong("expected a value") }
        if next == UInt8(ascii: ".") {
            isWhole = false
            position += 1
            guard digits() > 0 else { throw wrong("expected a digit") }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            isWhole = false
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            guard digits() > 0 else { throw wrong("expected a digit") }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, text != "-0", let value = Int64(text) { return .integer(value) }
        return .number(text)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) { position += 1 }
        return position - start
    }

    private mutating func string() throws(ContentError) -> String {
        position += 1
        var text: [UInt8] = []
        while true {
            guard let byte = next else { throw wrong("text without end") }
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw wrong("text that is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): text += String(try escape()).utf8
            case ..<0x20: throw wrong("control character in a text")
            default: text.append(byte)
            }
        }
    }

    /// The character of an escape sequence, whose backslash is taken.
    private mutating func escape() throws(ContentError) -> Unicode.Scalar {
        guard let byte = next else { throw wrong("text without end") }
        position += 1
        switch Unicode.Scalar(byte) {
        case "\"", "\\", "/": return Unicode.Scalar(byte)
        case "b": return "\u{8}"
        case "f": return "\u{c}"
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "u": return try unicodeEscape()
        default: throw wrong("unknown escape")
        }
    }

    private mutating func unicodeEscape() throws(ContentError) -> Unicode.Scalar {
        var value = try hexadecimal()
        if value & 0xfc00 == 0xd800 {
            guard next == UInt8(ascii: "\\"), bytes.count > position + 1,
                bytes[position + 1] == UInt8(ascii: "u")
            else { throw wrong("half a surrogate pair") }
            position += 2
            let low = try hexadecimal()
            guard low & 0xfc00 == 0xdc00 else { throw wrong("half a surrogate pair") }
            value = 0x10000 + ((value & 0x3ff) << 10 | (low & 0x3ff))
        }
        guard let scalar = Unicode.Scalar(value) else { throw wrong("half a surrogate pair") }
        return scalar
    }

    private mutating func hexadecimal() throws(ContentError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw wrong("expected 4 hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
