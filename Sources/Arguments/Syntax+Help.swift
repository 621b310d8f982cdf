// SPDX-License-Identifier: Apache-2.0

extension Syntax {
    /// The text of `--help`.
    ///
    /// - Parameter program: how the applet is called: `lazypull convert`.
    /// - Returns: lines of at most 80 columns, the last one ended.
    package func help(program: String) -> String {
        let names = operandUsage.dropFirst(name.count)
        var text = "Usage: \(program)\(names)\n\n"
        text += HelpText.wrapped("\(summary).", indentation: 0)
        if !operands.isEmpty {
            text += "\nOperands:\n"
            text += HelpText.table(operands.map { ($0.placeholder, $0.help) })
        }
        text += "\nOptions:\n"
        text += HelpText.table(options.filter { !$0.isHidden }.map { (usage($0), help($0)) })
        return text
    }

    /// `-t, --threads N`; without a short form the dashes line up all the same.
    private func usage(_ option: Option) -> String {
        let short = option.short.map { "-\($0), " } ?? "    "
        let value = option.value.map { " \($0.placeholder)" } ?? ""
        return "\(short)--\(option.name)\(value)"
    }

    /// The help with what follows from the declaration: the words allowed, the default.
    private func help(_ option: Option) -> String {
        var notes: [String] = []
        if case .choice(let words) = option.value?.kind {
            notes.append("one of \(words.joined(separator: ", "))")
        }
        if let text = option.value?.defaultText { notes.append("default: \(text)") }
        if option.isRepeatable { notes.append("may be given more than once") }
        guard !notes.isEmpty else { return option.help }
        return "\(option.help) (\(notes.joined(separator: "; ")))"
    }
}

/// Lays out help for a terminal of 80 columns.
package enum HelpText {
    private static let width = 80
    /// Where the right column of a table begins.
    private static let column = 30

    /// A table of names and explanations; a name too long for its column gets a line of its own.
    package static func table(_ rows: [(name: String, help: String)]) -> String {
        var text = ""
        for (name, help) in rows {
            let left = "  \(name)"
            let body = wrapped(help, indentation: column)
            if left.count + 2 <= column {
                text += left + body.dropFirst(left.count)
            } else {
                text += "\(left)\n\(body)"
            }
        }
        return text
    }

    /// The words in lines, each indented and ended.
    package static func wrapped(_ words: String, indentation: Int) -> String {
        let indent = String(repeating: " ", count: indentation)
        var text = ""
        var line = indent
        for word in words.split(whereSeparator: \.isWhitespace) {
            if line.count > indentation, line.count + 1 + word.count > width {
                text += "\(line)\n"
                line = indent
            }
            line += line.count > indentation ? " \(word)" : String(word)
        }
        return "\(text)\(line)\n"
    }
}
