// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import Synchronization
import Testing

@testable import Log

@Suite("Logger")
struct LoggerTests {
    private let moment = Timestamp(seconds: 1_769_850_307, milliseconds: 42)

    /// The line of an event at the fixed moment, without its newline.
    private func line(_ message: String, _ fields: LogFields = [:]) -> String {
        let bytes = LogLine.text(.info, message, fields, at: moment)
        #expect(bytes.last == UInt8(ascii: "\n"))
        return String(decoding: bytes.dropLast(), as: UTF8.self)
    }

    /// A pipe's two ends.
    private func pipe() throws -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [-1, -1]
        let code = unsafe Glibc.pipe(&ends)
        try #require(code == 0)
        return (ends[0], ends[1])
    }

    /// Everything in the pipe, which has no writer any more.
    private func contents(of descriptor: Int32) -> String {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            all += buffer.prefix(count)
        }
        close(descriptor)
        return String(decoding: all, as: UTF8.self)
    }

    @Test func writesTimeLevelMessageAndValues() {
        #expect(
            line("statistics", ["reads": 12, "fetched-bytes": UInt64.max])
                == "2026-01-31T09:05:07.042Z info statistics reads=12 fetched-bytes=18446744073709551615"
        )
    }

    @Test(arguments: [
        ("plain", "plain"), ("sha256:ab/c.d-e_f", "sha256:ab/c.d-e_f"), ("", "\"\""),
        ("two words", "\"two words\""), ("a=b", "\"a=b\""), ("a\"b", "\"a\\\"b\""),
        ("a\\b", "\"a\\\\b\""), ("a\nb", "\"a\\nb\""), ("a\tb", "\"a\\tb\""),
        ("\u{1B}[2J", "\"\\u{1b}[2J\""), ("\u{9B}2J", "\"\\u{9b}2J\""),
        ("a\u{2028}b", "\"a\\u{2028}b\""), ("ümlaut", "ümlaut"),
    ])
    func quotesValuesThatWouldBeMisread(value: String, written: String) {
        #expect(line("m", ["key": value]).hasSuffix(" info m key=\(written)"))
    }

    @Test func neverBreaksTheLine() {
        let text = line("one\ntwo\u{7F}", ["key": "three\r\n2026-01-31 error forged"])
        #expect(!text.contains { $0.isNewline })
        #expect(text.contains("one\\ntwo\\u{7f}"))
        #expect(text.contains("\"three\\u{d}\\n2026-01-31 error forged\""))
    }

    @Test func makesNothingBelowItsLevel() throws {
        let ends = try pipe()
        do {
            let logger = Logger(level: .warning, owning: ends.writing)
            let count = Mutex(0)
            func counted() -> String {
                count.withLock { $0 += 1 }
                return "message"
            }
            logger.debug(counted(), ["key": counted()])
            logger.info(counted())
            #expect(count.withLock { $0 } == 0)
            logger.warning(counted())
            logger.error(counted())
            #expect(count.withLock { $0 } == 2)
        }
        let lines = contents(of: ends.reading).split(separator: "\n")
        #expect(lines.map { $0.split(separator: " ")[1] } == ["warning", "error"])
    }

    @Test func keepsLinesOfManyThreadsWhole() throws {
        let path = "/tmp/lazypull-log-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let file = unsafe open(path, O_RDWR | O_CREAT | O_APPEND, 0o600)
        try #require(file >= 0)
        defer { _ = unsafe unlink(path) }
        let reading = unsafe open(path, O_RDONLY)
        do {
            let logger = Logger(level: .info, owning: file)
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                for line in 0..<200 { logger.info("line", ["thread": thread, "n": line]) }
            }
        }
        let lines = contents(of: reading).split(separator: "\n")
        #expect(lines.count == 1600)
        #expect(lines.allSatisfy { $0.contains(" info line thread=") })
        #expect(Set(lines.map { $0.drop { $0 != " " } }).count == 1600)
    }

    @Test func changesItsLevelAndItsFormat() throws {
        let ends = try pipe()
        do {
            let logger = Logger(level: .warning, format: .json, owning: ends.writing)
            logger.warning("first", ["key": 1])
            logger.setFormat(.text)
            logger.setLevel(.info)
            logger.info("second", ["key": 2])
        }
        let lines = contents(of: ends.reading).split(separator: "\n")
        try #require(lines.count == 2)
        #expect(lines[0].hasPrefix("{\"time\":\""))
        #expect(lines[0].hasSuffix(",\"level\":\"warning\",\"msg\":\"first\",\"key\":\"1\"}"))
        #expect(lines[1].hasSuffix(" info second key=2"))
    }

    @Test func survivesADescriptorThatTakesNothing() {
        let full = unsafe open("/dev/full", O_WRONLY)
        Logger(level: .info, owning: full).info("lost")
        Logger(level: .info, owning: -1).info("lost")
    }

    @Test func namesItsLevelsAndFormats() {
        for level in LogLevel.allCases { #expect(LogLevel(name: level.name) == level) }
        #expect(LogLevel(name: "verbose") == nil)
        for format in LogFormat.allCases { #expect(LogFormat(name: format.name) == format) }
        #expect(LogFormat(name: "journal") == nil)
        #expect(LogLevel.allCases.sorted() == [.error, .warning, .info, .debug])
    }
}
