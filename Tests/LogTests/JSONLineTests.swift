// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Log

@Suite("JSON log line")
struct JSONLineTests {
    private let moment = Timestamp(seconds: 1_769_850_307, milliseconds: 42)

    /// The line of an event at the fixed moment, without its newline.
    private func line(_ message: String, _ fields: LogFields = [:]) -> String {
        let bytes = LogFormat.json.line(.info, message, fields, at: moment)
        #expect(bytes.last == UInt8(ascii: "\n"))
        #expect(bytes.dropLast().allSatisfy { $0 >= 0x20 && $0 != 0x7f })
        return String(decoding: bytes.dropLast(), as: UTF8.self)
    }

    private let start = #"{"time":"2026-01-31T09:05:07.042Z","level":"info","msg":"#

    @Test func writesTimeLevelMessageAndValuesAsStrings() {
        #expect(
            line("statistics", ["reads": 12, "fetched-bytes": UInt64.max])
                == start + #""statistics","reads":"12","fetched-bytes":"18446744073709551615"}"#
        )
        #expect(line("") == start + #"""}"#)
    }

    @Test(arguments: [
        ("plain", "plain"), ("", ""), ("a\"b", #"a\"b"#), ("a\\b", #"a\\b"#), ("a/b", "a/b"),
        ("a\nb\r\tc", #"a\nb\r\tc"#), ("\u{0}\u{1F}", #"\u0000\u001f"#),
        ("\u{1B}[2J", #"\u001b[2J"#), ("\u{7F}\u{9B}2J", #"\u007f\u009b2J"#),
        ("a\u{2028}b\u{2029}", #"a\u2028b\u2029"#), ("ümlaut 🦥", "ümlaut 🦥"),
        ("e\u{301}\"", "e\u{301}\\\""), ("\r\n", #"\r\n"#),
    ])
    func escapesWhatAStringMustNotHold(value: String, written: String) {
        #expect(line("m", ["key": value]) == start + "\"m\",\"key\":\"\(written)\"}")
        #expect(line(value) == start + "\"\(written)\"}")
    }

    @Test func replacesWhatIsNotUTF8() {
        let name = String(decoding: [0x61, 0xff, 0xc3, 0x22, 0xed, 0xa0, 0x80], as: UTF8.self)
        let bytes = Array(line("m", ["path": name]).utf8)
        #expect(String(validating: bytes, as: UTF8.self) != nil)
        #expect(String(decoding: bytes, as: UTF8.self).contains(#""path":"a\#u{FFFD}\#u{FFFD}\""#))
    }

    @Test func keepsItsOwnNames() {
        #expect(
            line("m", ["level": "none", "time": 1, "msg": "forged", "key": 1, "key": 2])
                == start
                + #""m","fields.level":"none","fields.time":"1","fields.msg":"forged","key":"1"}"#
        )
    }

    @Test func isUndoneByReadingForEveryCharacterOfTheFirstPlane() throws {
        for value in UInt32(0)...0xffff {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = "<\(scalar)>"
            let bytes = LogFormat.json.line(.error, text, [:], at: moment)
            #expect(unescaped(bytes) == text, "U+\(String(value, radix: 16))")
        }
    }

    /// The message of a line without fields, read by the grammar of RFC 8259, section 7; nil if
    /// that is broken.
    private func unescaped(_ line: [UInt8]) -> String? {
        let text = String(decoding: line, as: UTF8.self).unicodeScalars
        let head = #"{"time":"2026-01-31T09:05:07.042Z","level":"error","msg":""#.unicodeScalars
        guard text.starts(with: head) else { return nil }
        var rest = text.dropFirst(head.count)
        var result = ""
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\"": return rest.elementsEqual("}\n".unicodeScalars) ? result : nil
            case "\0"..<" ": return nil
            case "\\":
                switch rest.popFirst() {
                case "n": result.unicodeScalars.append("\n")
                case "r": result.unicodeScalars.append("\r")
                case "t": result.unicodeScalars.append("\t")
                case "\"": result.unicodeScalars.append("\"")
                case "\\": result.unicodeScalars.append("\\")
                case "u":
                    let digits = String(String.UnicodeScalarView(rest.prefix(4)))
                    rest = rest.dropFirst(4)
                    guard digits.utf8.count == 4, let value = UInt32(digits, radix: 16),
                        let scalar = Unicode.Scalar(value)
                    else { return nil }
                    result.unicodeScalars.append(scalar)
                default: return nil
                }
            default: result.unicodeScalars.append(scalar)
            }
        }
        return nil
    }
}
