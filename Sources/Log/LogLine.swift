// SPDX-License-Identifier: Apache-2.0

/// The named values of an event, in the order in which they are printed.
///
/// Names are lower case words joined with `-`, chosen by us, never taken from input: they become
/// journal fields and JSON keys.
package typealias LogFields = KeyValuePairs<String, any CustomStringConvertible>

/// One event as one line of text: `time level message name=value …`.
enum LogLine {
    /// The line's bytes, ended by a newline, with no other control character in it.
    static func text(
        _ level: LogLevel,
        _ message: String,
        _ fields: LogFields,
        at time: Timestamp
    ) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(128)
        line += time.text.utf8
        line.append(UInt8(ascii: " "))
        line += level.name.utf8
        line.append(UInt8(ascii: " "))
        line += event(message, fields)
        line.append(UInt8(ascii: "\n"))
        return line
    }

    /// What happened and to what, without time and level: no control character is in it.
    static func event(_ message: String, _ fields: LogFields) -> [UInt8] {
        var line: [UInt8] = []
        appendEscaped(message, quoted: false, to: &line)
        for (name, value) in fields {
            line.append(UInt8(ascii: " "))
            line += name.utf8
            line.append(UInt8(ascii: "="))
            let text = value.description
            appendEscaped(text, quoted: needsQuotes(text), to: &line)
        }
        return line
    }

    /// Whether a value would be read as something else if it stood bare.
    private static func needsQuotes(_ text: String) -> Bool {
        text.isEmpty
            || text.unicodeScalars.contains { scalar in
                scalar <= " " || ("\u{7F}"..."\u{9F}").contains(scalar)
                    || scalar == "\"" || scalar == "=" || scalar == "\\"
                    || scalar == "\u{2028}" || scalar == "\u{2029}"
            }
    }

    /// Appends a text whose control characters are written as escapes.
    ///
    /// Names of files and answers of servers reach the log: a newline in them must not make a
    /// second line, an escape sequence must not reach the terminal.
    static func appendEscaped(_ text: String, quoted: Bool, to line: inout [UInt8]) {
        if quoted { line.append(UInt8(ascii: "\"")) }
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                line += (quoted ? "\\\(scalar)" : "\(scalar)").utf8
            case "\n":
                line += "\\n".utf8
            case "\t":
                line += "\\t".utf8
            case "\0"..<" ", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
                // The terminal's control characters in both forms, and Unicode's line ends.
                line += "\\u{\(String(scalar.value, radix: 16))}".utf8
            default:
                line += String(scalar).utf8
            }
        }
        if quoted { line.append(UInt8(ascii: "\"")) }
    }
}
