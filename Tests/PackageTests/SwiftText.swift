// SPDX-License-Identifier: Apache-2.0

/// Reads Swift by its lines: enough for sources that the formatter has laid out.
enum SwiftText {
    /// A function and how long it is.
    struct Function {
        /// The line of its signature's beginning, from 1.
        var line: Int
        /// Lines from the signature to the closing brace.
        var lineCount: Int
    }

    /// A declaration other targets see.
    struct Declaration {
        /// Its line, from 1.
        var line: Int
        /// Its name.
        var name: Substring
        /// Whether a doc comment stands above it.
        var isDocumented: Bool
    }

    private static let modifiers: Set<Substring> = [
        "package", "private", "fileprivate", "internal", "public", "static", "final", "mutating",
        "borrowing", "consuming", "nonisolated", "override", "convenience", "required", "class",
        "indirect", "lazy", "weak", "unowned",
    ]
    private static let keywords: Set<Substring> = [
        "func", "init", "init?", "let", "var", "struct", "enum", "class", "protocol", "typealias",
        "subscript", "actor",
    ]

    /// The module a line imports, or nil.
    static func imported(by line: Substring) -> Substring? {
        let parts = words(of: code(of: line))
        guard let index = parts.firstIndex(of: "import"), index + 1 < parts.count else {
            return nil
        }
        guard parts[..<index].allSatisfy({ modifiers.contains($0) || $0 == "testable" }) else {
            return nil
        }
        return parts[index + 1]
    }

    /// The line without its comment and without what stands in quotes.
    static func code(of line: Substring) -> Substring {
        let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
        let unquoted = parts.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        let text = unquoted.joined(separator: " ")
        var code = text[...]
        while let slash = code.firstIndex(of: "/") {
            if code[slash...].hasPrefix("//") { return text[..<slash] }
            code = code[code.index(after: slash)...]
        }
        return text[...]
    }

    /// The names and keywords of a line of code.
    static func words(of code: Substring) -> [Substring] {
        code.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
    }

    /// The functions, initialisers and accessors with a body of more than one line.
    static func functions(in lines: [Substring]) -> [Function] {
        var functions: [Function] = []
        for (index, line) in lines.enumerated() {
            let indentation = line.prefix { $0 == " " }
            let rest = line.dropFirst(indentation.count)
            let isFunction =
                head(of: rest).map { ["func", "init", "deinit"].contains($0) } ?? false
            guard isFunction else { continue }
            let closing = "\(indentation)}"
            // A line that begins again at this depth before the brace: a requirement, a one-liner.
            for later in index + 1..<max(index + 1, lines.count) {
                let other = lines[later]
                if other.hasPrefix(closing) {
                    functions.append(Function(line: index + 1, lineCount: later - index + 1))
                    break
                }
                let depth = other.prefix { $0 == " " }.count
                if !other.isEmpty, depth <= indentation.count,
                    !"{)".contains(other.dropFirst(depth).first ?? " ")
                {
                    break
                }
            }
        }
        return functions
    }

    /// The declarations with `package` or `public` access.
    static func packageDeclarations(in lines: [Substring]) -> [Declaration] {
        lines.indices.compactMap { index in
            let line = trimmed(lines[index])
            let parts = line.split(separator: " ").drop { $0.hasPrefix("@") }
            guard ["package", "public"].contains(parts.first) else { return nil }
            // The witnesses of RawRepresentable and Decodable.
            guard !line.contains(" init(rawValue: "), !line.contains(" init(from decoder: ") else {
                return nil
            }
            guard let name = declaredName(parts), !isNamedConstant(line) else { return nil }
            var above = index - 1
            while above >= 0, trimmed(lines[above]).hasPrefix("@") { above -= 1 }
            let isDocumented = above >= 0 && trimmed(lines[above]).hasPrefix("///")
            return Declaration(line: index + 1, name: name, isDocumented: isDocumented)
        }
    }

    /// Whether a line only names a bit of a flag set or a text of a format.
    ///
    /// `static let zran = BlobFeatures(rawValue: 0x8)`: the type above says what it is.
    private static func isNamedConstant(_ line: Substring) -> Bool {
        guard line.contains(" static let "), let start = line.firstIndex(of: "=") else {
            return false
        }
        let value = line[start...].dropFirst(2)
        return value.hasPrefix("\"") || value.contains("(rawValue: ")
    }

    /// The names of what the file's protocols require.
    static func protocolRequirements(in lines: [Substring]) -> [Substring] {
        var names: [Substring] = []
        var isInside = false
        for line in lines {
            let parts = line.split(separator: " ")[...]
            if line.hasPrefix("}") { isInside = false }
            if isInside, let name = declaredName(parts) { names.append(name) }
            if !line.hasPrefix(" "), parts.contains("protocol") { isInside = true }
        }
        return names
    }

    /// The declaration's keyword, behind attributes and modifiers.
    private static func head(of line: Substring) -> Substring? {
        let parts = line.split(separator: " ").drop { $0.hasPrefix("@") || modifiers.contains($0) }
        return parts.first.map { $0.prefix { $0.isLetter } }
    }

    private static func declaredName(_ parts: ArraySlice<Substring>) -> Substring? {
        var rest = parts
        while let part = rest.popFirst() {
            let keyword = part.prefix { $0.isLetter }
            if keyword == "init" || keyword == "subscript" { return keyword }
            if keywords.contains(keyword), !(keyword == "class" && rest.first == "func") {
                return rest.first.map { name in
                    let letters = name.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
                    return letters.isEmpty ? nil : letters
                } ?? nil
            }
            guard modifiers.contains(keyword) || part.hasPrefix("@") else { return nil }
        }
        return nil
    }

    private static func trimmed(_ line: Substring) -> Substring { line.drop { $0 == " " } }
}
