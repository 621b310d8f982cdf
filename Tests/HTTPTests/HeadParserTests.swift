// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import HTTP

@Suite("Heads of responses")
struct HeadParserTests {
    private func parse(_ lines: [String]) -> [HeadParser.Step] {
        var parser = HeadParser()
        return lines.map { line in
            unsafe Array(line.utf8).withUnsafeBytes { unsafe parser.take($0) }
        }
    }

    @Test func takesTheFinalHead() {
        let steps = parse([
            "HTTP/1.1 100 Continue\r\n", "\r\n", "HTTP/2 206 \r\n",
            "Content-Range: bytes 0-1/2\r\n",
            "ETag:\t\"a: b\" \r\n", "\r\n", "Trailer: x\r\n", "\r\n",
        ])
        let head = HTTPHead(
            status: 206,
            headers: [HTTPHeader("content-range", "bytes 0-1/2"), HTTPHeader("etag", "\"a: b\"")]
        )
        #expect(steps[5] == .complete(head))
        #expect(steps.enumerated().allSatisfy { $0 == 5 || $1 == .more })
    }

    @Test func limitsWhatHeadersTake() {
        let line = "a: \(String(repeating: "b", count: 1020))\r\n"
        let steps = parse(["HTTP/1.1 200 OK\r\n"] + [String](repeating: line, count: 256))
        #expect(steps.last == .tooLarge)
    }

    @Test(
        arguments: [
            ("bytes 0-9/100", 0, 9, 100), ("bytes 5-5/*", 5, 5, nil), ("Bytes 1-2/3", 1, 2, 3),
        ] as [(String, UInt64, UInt64, UInt64?)]
    )
    func readsContentRanges(text: String, first: UInt64, last: UInt64, total: UInt64?) throws {
        let range = try #require(ContentRange(text))
        #expect(range.first == first)
        #expect(range.last == last)
        #expect(range.total == total)
    }

    @Test(arguments: ["", "bytes", "bytes */100", "bytes 9-0/100", "bytes 0-9", "items 0-9/9"])
    func refusesOtherContentRanges(text: String) {
        #expect(ContentRange(text) == nil)
    }
}
