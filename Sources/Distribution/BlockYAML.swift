// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// The YAML that people write by hand for Kubernetes.
///
/// That is blocks of names and of items, texts in one line, and comments. Whatever goes beyond is
/// refused, never guessed.
/// All values are texts: who reads them knows what they are to be.
struct BlockYAML {
    private struct Line {
        var number: Int
        var indent: Int
        var text: Substring
    }

    private let document: String
    private var lines: [Line] = []
    private var next = 0

    /// The deepest nesting.
    private static let depthLimit = 32

    /// The value of a document.
    ///
    /// - Parameters:
    ///   - bytes: the text in UTF-8.
    ///   - document: what it is, for the error.
    /// - Returns: objects, arrays and texts.
    /// - Throws: `ContentError` naming the line.
    static func value(of bytes: [UInt8], document: String) throws(ContentError) -> JSONValue {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .corrupt("\(document): not UTF-8")
        }
        var reader = BlockYAML(document: document)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            let content = line.hasSuffix("\r") ? line.dropLast() : line
            let body = content.drop { $0 == " " }
            if body.isEmpty || body.hasPrefix("#") || (index == 0 && body == "---") { continue }
            let indent = content.count - body.count
            reader.lines.append(Line(number: index + 1, indent: indent, text: body))
        }
        guard let first = reader.lines.first else { return .null }
        let value = try reader.block(first.indent, depth: 0)
        if reader.next < reader.lines.count {
            throw reader.wrong(reader.lines[reader.next], "indented otherwise than what is before")
        }
        return value
    }

    private init(document: String) {
        self.document = document
    }

    private func wrong(_ line: Line, _ message: String) -> ContentError {
        .corrupt("\(document):\(line.number): \(message)")
    }

    /// The lines at an indentation, and what is below them.
    private mutating func block(_ indent: Int, depth: Int) throws(ContentError) -> JSONValue {
        guard depth < Self.depthLimit else { throw wrong(lines[next], "nested too deep") }
        let isList = Self.isItem(lines[next].text)
        var items: [JSONValue] = []
        var fields: [String: JSONValue] = [:]
        while next < lines.count, lines[next].indent == indent {
            let line = lines[next]
            guard Self.isItem(line.text) == isList else { break }
            if isList {
                items.append(try item(line, depth))
                continue
            }
            let (name, rest) = try field(line)
            next += 1
            guard fields[name] == nil else { throw wrong(line, "'\(name)' stands twice") }
            fields[name] = rest.isEmpty ? try below(line, depth) : try scalar(rest, line)
        }
        return isList ? .array(items) : .object(fields)
    }

    private static func isItem(_ text: Substring) -> Bool { text == "-" || text.hasPrefix("- ") }

    /// An item of a list: a text, or what follows the dash as if it stood on a line of its own.
    private mutating func item(_ line: Line, _ depth: Int) throws(ContentError) -> JSONValue {
        let body = line.text.dropFirst().drop { $0 == " " }
        guard !body.isEmpty, !body.hasPrefix("#") else {
            next += 1
            return try below(line, depth)
        }
        guard Self.isItem(body) || (try? field(Line(number: 0, indent: 0, text: body))) != nil
        else {
            next += 1
            return try scalar(body, line)
        }
        lines[next].indent = line.indent + line.text.count - body.count
        lines[next].text = body
        return try block(lines[next].indent, depth: depth + 1)
    }

    /// What is indented below a line; a list may stand at the line's own indentation.
    private mutating func below(_ line: Line, _ depth: Int) throws(ContentError) -> JSONValue {
        guard next < lines.count else { return .null }
        let below = lines[next]
        let isList = Self.isItem(below.text) && !Self.isItem(line.text)
        guard below.indent > line.indent || (isList && below.indent == line.indent) else {
            return .null
        }
        return try block(below.indent, depth: depth + 1)
    }

    /// `name: rest`.
    private func field(_ line: Line) throws(ContentError) -> (name: String, rest: Substring) {
        let text = line.text
        guard let first = text.first, first.isLetter,
            let colon = text.firstIndex(of: ":"),
            text[..<colon].allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" })
        else { throw wrong(line, "neither a name and a colon nor an item") }
        let rest = text[text.index(after: colon)...]
        guard rest.isEmpty || rest.hasPrefix(" ") else {
            throw wrong(line, "no blank behind the colon")
        }
        let value = rest.drop { $0 == " " }
        return (String(text[..<colon]), value.hasPrefix("#") ? "" : value)
    }

    /// A text in one line: as it is, or in quotation marks.
    private func scalar(_ text: Substring, _ line: Line) throws(ContentError) -> JSONValue {
        if let quote = text.first, quote == "\"" || quote == "'" {
            let rest = text.dropFirst()
            guard let end = rest.firstIndex(of: quote), !rest[..<end].contains("\\") else {
                throw wrong(line, "a text in quotation marks that is not understood")
            }
            let after = rest[rest.index(after: end)...].drop { $0 == " " }
            guard after.isEmpty || after.hasPrefix("#") else {
                throw wrong(line, "something stands behind a text in quotation marks")
            }
            return .string(String(rest[..<end]))
        }
        guard let first = text.first, !"[{&*!|>%@`".contains(first) else {
            throw wrong(line, "YAML beyond names, items and texts is not supported")
        }
        var value = text
        var before: Character = " "
        for index in text.indices {
            if text[index] == "#", before == " " {
                value = text[..<index]
                break
            }
            before = text[index]
        }
        while value.last == " " { value.removeLast() }
        return value == "null" || value == "~" ? .null : .string(String(value))
    }
}
