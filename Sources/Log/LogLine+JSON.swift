// SPDX-License-Identifier: Apache-2.0

extension LogLine {
    /// The names of what every object has.
    private static let ownNames = ["time", "level", "msg"]

    /// The event as one JSON object (RFC 8259) and a newline, with the names that the JSON of
    /// containerd's log has (logrus): `time`, `level` and `msg`, then the fields, all of them strings.
    ///
    /// A field with one of those three names becomes `fields.name`, as logrus does it; of two fields
    /// with one name the first is kept, since readers differ in which one they take.
    static func json(
        _ level: LogLevel,
        _ message: String,
        _ fields: LogFields,
        at time: Timestamp
    ) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(192)
        line.append(UInt8(ascii: "{"))
        append("time", time.text, to: &line)
        line.append(UInt8(ascii: ","))
        append("level", level.name, to: &line)
        line.append(UInt8(ascii: ","))
        append("msg", message, to: &line)
        var names: [String] = []
        for (name, value) in fields {
            let key = ownNames.contains(name) ? "fields.\(name)" : name
            guard !names.contains(key) else { continue }
            names.append(key)
            line.append(UInt8(ascii: ","))
            append(key, value.description, to: &line)
        }
        line += "}\n".utf8
        return line
    }

    private static func append(_ name: String, _ value: String, to line: inout [UInt8]) {
        appendJSON(name, to: &line)
        line.append(UInt8(ascii: ":"))
        appendJSON(value, to: &line)
    }

    /// Appends a JSON string.
    ///
    /// Beyond what JSON asks to be escaped, the terminal's other control characters and Unicode's
    /// line ends are, as in the text form. What was no UTF-8 is U+FFFD since it became a `String`.
    private static func appendJSON(_ text: String, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": line += "\\\(scalar)".utf8
            case "\n": line += "\\n".utf8
            case "\r": line += "\\r".utf8
            case "\t": line += "\\t".utf8
            case "\0"..<" ", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
                // All of them are of the basic plane: four digits, no surrogates.
                let digits = String(scalar.value, radix: 16)
                line += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".utf8
            default: line += String(scalar).utf8
            }
        }
        line.append(UInt8(ascii: "\""))
    }
}
