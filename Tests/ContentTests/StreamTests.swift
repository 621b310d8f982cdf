// SPDX-License-Identifier: Apache-2.0

import Content
import TestSupport
import Testing

@Suite("Streams")
struct StreamTests {
    private let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }

    @Test(arguments: [1, 2, 7, 255, 256, 257, 4096])
    func bufferedStreamGivesTheSameBytes(_ size: Int) throws {
        for piece in [1, 3, 300, 2000] {
            var stream = BufferedStream(TrickleStream(content, piece: piece), capacity: 256)
            var result: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: size)
            while true {
                let count = try unsafe buffer.withUnsafeMutableBytes {
                    (bytes) throws(ContentError) in try unsafe stream.read(into: bytes)
                }
                if count == 0 { break }
                result += buffer[..<count]
                let offset = stream.offset
                #expect(offset == UInt64(result.count))
            }
            #expect(result == content)
            let hasEnded = stream.hasSourceEnded
            #expect(hasEnded)
        }
    }

    @Test func whatIsBufferedCanBeLookedAtAndTaken() throws {
        var stream = BufferedStream(TrickleStream(content, piece: 10), capacity: 64)
        let first = try stream.fill(atLeast: 25)
        let seen = try stream.buffered.bytes(at: 0, count: first)
        #expect(seen == Array(content[..<30]))
        stream.consume(20)
        let second = try stream.fill(atLeast: 64)
        let seenNext = try stream.buffered.bytes(at: 0, count: second)
        #expect(seenNext == Array(content[20..<84]))
        stream.consume(1000)
        let (offset, left) = (stream.offset, stream.buffered.byteCount)
        #expect((offset, left) == (84, 0))
        let rest = try stream.readAll(limit: 1000)
        #expect(rest == Array(content[84...]))
        let atEnd = try stream.fill(atLeast: 1)
        #expect(atEnd == 0)
    }

    @Test func readAllStopsAtItsLimit() throws {
        for piece in [1, 100] {
            var enough = TrickleStream(content, piece: piece)
            #expect(try enough.readAll(limit: content.count) == content)
            var tooFew = TrickleStream(content, piece: piece)
            let error = #expect(throws: ContentError.self) {
                try tooFew.readAll(limit: content.count - 1)
            }
            #expect(error?.kind == .limitExceeded)
        }
    }

    @Test func readFullyFillsTheBufferOrEnds() throws {
        var stream = AnyByteStream(TrickleStream(content, piece: 3))
        var buffer = [UInt8](repeating: 0, count: 999)
        let first = try unsafe buffer.withUnsafeMutableBytes {
            (bytes) throws(ContentError) in try unsafe stream.readFully(into: bytes)
        }
        #expect(first == 999)
        #expect(buffer == Array(content[..<999]))
        let second = try unsafe buffer.withUnsafeMutableBytes {
            (bytes) throws(ContentError) in try unsafe stream.readFully(into: bytes)
        }
        #expect(second == 1)
        #expect(buffer[0] == content[999])
    }

    @Test func sinksKeepWhatTheyAreGiven() throws {
        var sink = ArraySink()
        for part: [UInt8] in [[1, 2], [], [3]] { try sink.write(part.rawSpan) }
        #expect(sink.bytes == [1, 2, 3])
        var stream = ArrayStream(sink.bytes)
        #expect(try stream.readAll(limit: 3) == [1, 2, 3])
    }
}
