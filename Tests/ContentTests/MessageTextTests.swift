// SPDX-License-Identifier: Apache-2.0

import Content
import Testing

@Suite("Message text")
struct MessageTextTests {
    @Test func leavesOrdinaryTextAlone() {
        let text = "layer sha256:00: /usr/share/ä €: digest \\x0a"
        #expect(messageText(text) == text)
        let longest = String(repeating: "x", count: 4096)
        #expect(messageText(longest) == longest)
    }

    @Test(
        arguments: [
            ("a\nb", "a\\u{a}b"), ("\u{1b}[31m", "\\u{1b}[31m"), ("\u{9b}m", "\\u{9b}m"),
            ("\u{202e}gpj", "\\u{202e}gpj"), ("\u{2028}\u{7f}", "\\u{2028}\\u{7f}"),
        ]
    )
    func hasNoControlCharacters(text: String, expected: String) {
        #expect(messageText(text) == expected)
        #expect(messageText(expected) == expected)
    }

    @Test(arguments: ["x", "ä", "€", "😀", "\u{1b}"])
    func keepsBothEndsOfLongText(filling: String) {
        for shift in 0..<4 {
            let start = String(repeating: "s", count: shift) + "start"
            let text = messageText(start + String(repeating: filling, count: 800_000) + "end")
            #expect(text.hasPrefix(start))
            #expect(text.hasSuffix("end"))
            #expect(text.contains(" [...] "))
            #expect(text.utf8.count <= 4096)
            #expect(text.utf8.count >= 4080)
            #expect(!text.unicodeScalars.contains("\u{fffd}"))
            #expect(messageText(text) == text)
        }
    }

    @Test func boundsErrorsHoweverOftenTheyAreLed() {
        var error = ContentError.corrupt(String(repeating: "n", count: 1 << 20) + ": no name")
        for _ in 0..<10 { error = error.at("/" + String(repeating: "d", count: 1 << 16)) }
        #expect(error.message.utf8.count <= 4096)
        #expect(error.message.hasSuffix("no name"))
        error.message += String(repeating: "; ", count: 1 << 16) + "what to do"
        #expect(error.message.utf8.count <= 4096)
        #expect(error.message.hasSuffix("what to do"))
        #expect(ContentError.corrupt("sha256:\u{1b}[2J\n").message == "sha256:\\u{1b}[2J\\u{a}")
    }
}
