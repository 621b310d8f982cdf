// SPDX-License-Identifier: Apache-2.0

/// Reads one filter, byte by byte.
struct FilterParser {
    private let text: String
    private let bytes: [UInt8]
    private var position = 0

    /// - Throws: `invalidArgument` for a text that is too long.
    init(_ text: String) throws(RPCStatus) {
        guard text.utf8.count <= SnapshotFilter.textLimit else {
            throw RPCStatus(
                .invalidArgument,
                "a filter of more than \(SnapshotFilter.textLimit) bytes"
            )
        }
        self.text = text
        bytes = Array(text.utf8)
    }

    /// Reads the whole filter.
    ///
    /// - Throws: `invalidArgument`.
    mutating func selectors() throws(RPCStatus) -> [SnapshotSelector] {
        var selectors = [try selector()]
        while let byte = peek() {
            guard byte == UInt8(ascii: ",") else { throw failure("expected a comma") }
            guard selectors.count < SnapshotFilter.selectorLimit else {
                throw failure("more than \(SnapshotFilter.selectorLimit) selectors")
            }
            position += 1
            selectors.append(try selector())
        }
        return selectors
    }

    private mutating func selector() throws(RPCStatus) -> SnapshotSelector {
        let field = Self.field(try path())
        guard let byte = peek(), byte != UInt8(ascii: ",") else {
            return SnapshotSelector(field: field, test: .isPresent)
        }
        skipSpace()
        let start = position
        while let byte = peek(), "=!~".utf8.contains(byte) { position += 1 }
        switch bytes[start..<position] {
        case [UInt8(ascii: "="), UInt8(ascii: "=")]:
            return SnapshotSelector(field: field, test: .equals(try value()))
        case [UInt8(ascii: "!"), UInt8(ascii: "=")]:
            return SnapshotSelector(field: field, test: .differs(try value()))
        case [UInt8(ascii: "~"), UInt8(ascii: "=")]:
            let value = try value(isPattern: true)
            do {
                return SnapshotSelector(field: field, test: .matches(try Pattern(value)))
            } catch {
                throw failure("'\(value)' is no regular expression: \(error.message)")
            }
        default:
            position = start
            throw failure("expected an operator: ==, != or ~=")
        }
    }

    /// What a path names.
    private static func field(_ path: [String]) -> SnapshotSelector.Field {
        switch path.first {
        case "name": .name
        case "parent": .parent
        case "kind": .kind
        case "labels": .label(path.dropFirst().joined(separator: "."))
        default: .other
        }
    }

    private mutating func path() throws(RPCStatus) -> [String] {
        var fields = [try field()]
        while peek() == UInt8(ascii: ".") {
            position += 1
            fields.append(try field())
        }
        return fields
    }

    private mutating func field() throws(RPCStatus) -> String {
        skipSpace()
        if peek() == UInt8(ascii: "\"") { return try quoted() }
        let start = position
        while let byte = peek(), Self.isFieldByte(byte) { position += 1 }
        guard position > start else { throw failure("expected a field or a quoted text") }
        return try decoded(bytes[start..<position])
    }

    private mutating func value(isPattern: Bool = false) throws(RPCStatus) -> String {
        skipSpace()
        switch peek() {
        case UInt8(ascii: "\""): return try quoted()
        case UInt8(ascii: "/"), UInt8(ascii: "|"):
            guard isPattern else { throw failure("only a regular expression is quoted so") }
            return try quoted()
        case UInt8(ascii: "."): throw failure("expected a value or a quoted text")
        default: break
        }
        let start = position
        while let byte = peek(), byte > 0x20, byte != 0x7F, byte != UInt8(ascii: ",") {
            position += 1
        }
        guard position > start else { throw failure("expected a value or a quoted text") }
        return try decoded(bytes[start..<position])
    }

    /// A text in quotes; the byte here is the quote.
    private mutating func quoted() throws(RPCStatus) -> String {
        let quote = peek()
        position += 1
        var content: [UInt8] = []
        while true {
            guard let byte = peek(), byte != UInt8(ascii: "\n") else {
                throw failure("a quote without its end")
            }
            position += 1
            if byte == quote { return try decoded(content[...]) }
            if byte == UInt8(ascii: "\\") {
                content += try escape(quote: quote)
            } else {
                content.append(byte)
            }
        }
    }

    /// What stands behind a backslash.
    private mutating func escape(quote: UInt8?) throws(RPCStatus) -> [UInt8] {
        guard let byte = peek() else { throw failure("a quote without its end") }
        position += 1
        switch byte {
        case UInt8(ascii: "a"): return [0x07]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "v"): return [0x0B]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "\\"), quote: return [byte]
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            position -= 1
            let value = try digits(3, base: 8)
            guard let byte = UInt8(exactly: value) else { throw failure("no byte") }
            return [byte]
        case UInt8(ascii: "x"): return [UInt8(truncatingIfNeeded: try digits(2, base: 16))]
        case UInt8(ascii: "u"): return try scalar(digits: 4)
        case UInt8(ascii: "U"): return try scalar(digits: 8)
        default: throw failure("no escape sequence")
        }
    }

    private mutating func scalar(digits count: Int) throws(RPCStatus) -> [UInt8] {
        let value = try digits(count, base: 16)
        guard let scalar = Unicode.Scalar(value) else { throw failure("no character") }
        return Array(String(Character(scalar)).utf8)
    }

    /// So many digits; eight of base 16 are the most, which 32 bits hold.
    private mutating func digits(_ count: Int, base: UInt32) throws(RPCStatus) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<count {
            guard let byte = peek(),
                let digit = Character(Unicode.Scalar(byte)).hexDigitValue,
                digit < Int(base)
            else { throw failure("expected a digit") }
            position += 1
            value = value &* base &+ UInt32(digit)
        }
        return value
    }

    private func decoded(_ bytes: ArraySlice<UInt8>) throws(RPCStatus) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw failure("no UTF-8 text")
        }
        return text
    }

    private static func isFieldByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || (0x09...0x0D).contains(byte) { position += 1 }
    }

    private func peek() -> UInt8? {
        position < bytes.count ? bytes[position] : nil
    }

    private func failure(_ message: String) -> RPCStatus {
        let shown = text.utf8.count > 200 ? "\(text.prefix(200))…" : text
        return RPCStatus(.invalidArgument, "filter '\(shown)', byte \(position): \(message)")
    }
}
