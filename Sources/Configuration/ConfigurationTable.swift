// SPDX-License-Identifier: Apache-2.0

import Arguments
package import Content
import TOML

/// A table of a configuration file while its keys are read.
///
/// Whoever reads it asks for every key that there may be, and then calls `finish`, which refuses
/// the others.
package struct ConfigurationTable: Sendable {
    /// The table's name with those it is in, joined by dots; nil for the whole document.
    private let name: String?
    /// The file's path, for errors.
    private let path: String
    let entries: [TOMLEntry]
    private var known: [String] = []

    init(name: String?, entries: [TOMLEntry], path: String) {
        self.name = name
        self.entries = entries
        self.path = path
    }

    init(name: String?, _ value: TOMLValue, path: String) throws(ContentError) {
        guard let entries = value.tableEntries else {
            throw Self.wrong(value, path, "\(Self.quoted(name)) must be a table")
        }
        self.init(name: name, entries: entries, path: path)
    }

    /// A text; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if it is another kind of value.
    package mutating func text(_ key: String) throws(ContentError) -> String? {
        guard let value = take(key) else { return nil }
        guard case .string(let text) = value.kind else { throw wrong(key, value, "a string") }
        return text
    }

    /// An absolute path; nil if the key is not there.
    ///
    /// Relative ones are refused: what they start from would be where the command happens to be
    /// called.
    ///
    /// - Throws: `ContentError` with its line.
    package mutating func path(_ key: String) throws(ContentError) -> String? {
        guard let value = take(key) else { return nil }
        guard case .string(let text) = value.kind, text.hasPrefix("/"), !text.utf8.contains(0)
        else { throw wrong(key, value, "an absolute path") }
        return text
    }

    /// A number; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if it is none, or out of range.
    package mutating func integer(
        _ key: String,
        in range: ClosedRange<Int>
    ) throws(ContentError) -> Int? {
        guard let value = take(key) else { return nil }
        guard case .integer(let number) = value.kind, let result = Int(exactly: number),
            range.contains(result)
        else {
            throw wrong(key, value, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return result
    }

    /// `true` or `false`; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if it is neither.
    package mutating func boolean(_ key: String) throws(ContentError) -> Bool? {
        guard let value = take(key) else { return nil }
        guard case .boolean(let answer) = value.kind else {
            throw wrong(key, value, "true or false")
        }
        return answer
    }

    /// One of a few words; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if it is none of them.
    package mutating func choice(
        _ key: String,
        of words: [String]
    ) throws(ContentError) -> String? {
        guard let value = take(key) else { return nil }
        guard case .string(let text) = value.kind, words.contains(text) else {
            throw wrong(key, value, "one of \(words.joined(separator: ", "))")
        }
        return text
    }

    /// Several texts; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with the line of what is no text.
    package mutating func texts(_ key: String) throws(ContentError) -> [String]? {
        guard let value = take(key) else { return nil }
        guard case .array(let values) = value.kind else {
            throw wrong(key, value, "an array of strings")
        }
        var result: [String] = []
        for value in values {
            guard case .string(let text) = value.kind else {
                throw wrong(key, value, "an array of strings")
            }
            result.append(text)
        }
        return result
    }

    /// Several of a few words; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if there is none in it, or one is none of them.
    package mutating func choices(
        _ key: String,
        of words: [String]
    ) throws(ContentError) -> [String]? {
        guard let found = try texts(key) else { return nil }
        guard !found.isEmpty, found.allSatisfy(words.contains) else {
            let value = entries.first { $0.key == key }?.value
            let expected = "an array of \(words.joined(separator: ", "))"
            throw value.map { wrong(key, $0, expected) } ?? .corrupt(expected)
        }
        return found
    }

    /// A table within; nil if the key is not there.
    ///
    /// - Throws: `ContentError` with its line if it is none.
    package mutating func table(_ key: String) throws(ContentError) -> ConfigurationTable? {
        guard let value = take(key) else { return nil }
        let name = name.map { "\($0).\(key)" } ?? key
        return try ConfigurationTable(name: name, value, path: path)
    }

    /// Refuses what nobody has asked for.
    ///
    /// - Throws: `ContentError` with the line of the first such key.
    package func finish() throws(ContentError) {
        guard let entry = entries.first(where: { !known.contains($0.key) }) else { return }
        let hint = NearestName.find(entry.key, in: known).map { "; did you mean '\($0)'?" } ?? ""
        let what =
            name.map { "[\($0)] has no key '\(entry.key)'" } ?? "there is no table '\(entry.key)'"
        throw Self.wrong(entry.value, path, what + hint)
    }

    private mutating func take(_ key: String) -> TOMLValue? {
        known.append(key)
        return entries.first { $0.key == key }?.value
    }

    private func wrong(_ key: String, _ value: TOMLValue, _ expected: String) -> ContentError {
        let name = name.map { "\($0).\(key)" } ?? key
        return Self.wrong(value, path, "\(Self.quoted(name)) must be \(expected)")
    }

    private static func quoted(_ name: String?) -> String { name.map { "'\($0)'" } ?? "it" }

    private static func wrong(
        _ value: TOMLValue,
        _ path: String,
        _ message: String
    ) -> ContentError {
        .corrupt("\(path):\(value.line):\(value.column): \(message)")
    }
}
