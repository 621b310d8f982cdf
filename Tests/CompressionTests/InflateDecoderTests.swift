// SPDX-License-Identifier: Apache-2.0

import Compression
import TestSupport
import Testing

@Suite("Inflate decoder")
struct InflateDecoderTests {
    private static let fixed = DeflateWriter.Code.fixed
    private let text = lines(60)

    /// A block of each kind, each with something to repeat from the one before.
    private let mixed: (stored: [UInt8], content: [UInt8]) = {
        var writer = DeflateWriter()
        writer.appendStored(Array("abc".utf8), isLast: false)
        writer.beginBlock(type: 1, isLast: false)
        // Six bytes, three back, then the longest match of one byte.
        writer.append(fixed[260])
        writer.append(.init(value: 2, length: 5))
        writer.append(fixed[285])
        writer.append(.init(value: 0, length: 5))
        writer.append(fixed[256])
        writer.appendStored([], isLast: false)
        let literals = [1] + [Int](repeating: 0, count: 255) + [2, 2]
        let codes = DeflateWriter.Code.codes(literals)
        writer.beginBlock(literals: literals, distances: [0, 0, 0, 0, 0, 1])
        writer.append(codes[0])
        // Three bytes, seven or eight back: an extra bit.
        writer.append(codes[257])
        writer.append(0, bits: 1)
        writer.append(1, bits: 1)
        writer.append(codes[256])
        let content = Array("abcabcabc".utf8) + [UInt8](repeating: 0x63, count: 258)
        return (writer.bytes, content + [0, 0x63, 0x63, 0x63])
    }()

    @Test func decodesBlocksOfEveryKind() {
        let result = Inflated(mixed.stored)
        #expect(result.content == mixed.content)
        #expect(result.status == .streamEnd)
        #expect(result.consumed == mixed.stored.count)
        #expect(Zlib.inflate(mixed.stored).content == mixed.content)
    }

    @Test func takesNothingBehindTheEnd() {
        for stored in [mixed.stored, Zlib.deflate(text), Zlib.deflate([])] {
            let whole = Inflated(stored)
            let result = Inflated(stored + WrongStreams.padding)
            #expect(result == whole && result.consumed == stored.count)
        }
    }

    @Test func decodesWhereverTheInputIsSplit() {
        let stored = mixed.stored
        let whole = Inflated(stored)
        for first in 0...stored.count {
            for second in first...stored.count {
                let pieces = [stored[..<first], stored[first..<second], stored[second...]]
                #expect(Inflated(pieces.map { Array($0) }) == whole, "at \(first) and \(second)")
            }
        }
    }

    @Test(arguments: [1, 2, 3, 100, 257, 258, 259, 300])
    func decodesIntoWhateverRoomThereIs(room: Int) {
        for stored in [mixed.stored, Zlib.deflate(text)] {
            let whole = Inflated(stored)
            #expect(Inflated([stored], room: room) == whole)
            #expect(Inflated(stored.map { [$0] }, room: room) == whole)
        }
    }

    @Test func wantsMoreAtEveryTruncation() {
        for stored in [mixed.stored, Zlib.deflate(text)] {
            let content = Inflated(stored).content
            for length in 0..<stored.count {
                let result = Inflated(Array(stored[..<length]))
                #expect(result.status == .needsInput, "at length \(length)")
                #expect(result.consumed == length)
                #expect(content.starts(with: result.content))
            }
        }
    }

    @Test(arguments: InflateFault.allCases)
    func tellsWhatIsWrong(_ fault: InflateFault) {
        let stored = WrongStreams.stream(fault)
        let whole = Inflated(stored)
        #expect(whole.status == .failed(fault))
        let pieces = Inflated(stored.map { [$0] }, room: 1)
        #expect(pieces.status == .failed(fault) && pieces.content == whole.content)
        let (content, verdict) = Zlib.inflate(stored)
        #expect(content == whole.content)
        guard case .corrupt = verdict else {
            Issue.record("zlib says \(verdict)")
            return
        }
    }

    @Test func staysFailed() {
        let wrong = WrongStreams.stream(.blockType)
        #expect(Inflated([wrong, Zlib.deflate(text)]).status == .failed(.blockType))
    }

    /// zlib and the specification allow one distance with a code of one bit, and none at all.
    @Test func takesTheCodesThatMayBeIncomplete() {
        let literals = [1] + [Int](repeating: 0, count: 255) + [2, 2]
        let codes = DeflateWriter.Code.codes(literals)
        for distances in [[1], [0], [0, 1], [0, 0, 0]] {
            for bit in 0...1 {
                var writer = DeflateWriter()
                writer.beginBlock(literals: literals, distances: distances)
                for _ in 0..<3 { writer.append(codes[0]) }
                let plain = writer
                writer.append(codes[257])
                writer.append(bit, bits: 1)
                writer.append(codes[256])
                let result = Inflated(writer.bytes)
                let isUsed = distances.contains(1) && bit == 0
                #expect(result.status == (isUsed ? .streamEnd : .failed(.distanceCode)))
                #expect(result.content == Zlib.inflate(writer.bytes).content)
                writer = plain
                writer.append(codes[256])
                #expect(Inflated(writer.bytes).status == .streamEnd)
            }
        }
    }

    @Test func takesACodeForTheEndOnly() {
        for bit in 0...1 {
            var writer = DeflateWriter()
            writer.beginBlock(literals: [Int](repeating: 0, count: 256) + [1], distances: [0])
            writer.append(bit, bits: 1)
            let result = Inflated(writer.bytes + WrongStreams.padding)
            #expect(result.status == (bit == 0 ? .streamEnd : .failed(.literalCode)))
        }
    }

    /// Codes of every length, the longest far beyond the first tables.
    @Test func decodesTheLongestCodes() {
        let lengths = Array(1...15) + [15]
        let literals = lengths.dropLast() + [Int](repeating: 0, count: 241) + [15]
        let codes = DeflateWriter.Code.codes(literals)
        var writer = DeflateWriter()
        writer.beginBlock(literals: literals, distances: [1], isLast: false)
        var content: [UInt8] = []
        for round in 0..<2000 {
            let literal = round * round % 15
            writer.append(codes[literal])
            content.append(UInt8(literal))
        }
        writer.append(codes[256])
        let matching = [1] + [Int](repeating: 0, count: 255) + [2, 2]
        let matchCodes = DeflateWriter.Code.codes(matching)
        let distanceCodes = DeflateWriter.Code.codes(lengths)
        writer.beginBlock(literals: matching, distances: lengths)
        for round in 0..<500 {
            let symbol = round * 7 % 16
            let extraBits = max(0, symbol / 2 - 1)
            let extra = round % (1 << extraBits)
            writer.append(matchCodes[257])
            writer.append(distanceCodes[symbol])
            writer.append(extra, bits: extraBits)
            let base = symbol < 4 ? symbol + 1 : 1 + (2 + symbol % 2) << extraBits
            for _ in 0..<3 { content.append(content[content.count - base - extra]) }
        }
        writer.append(matchCodes[256])
        let result = Inflated(writer.bytes)
        #expect(result.status == .streamEnd && result.content == content)
        #expect(Inflated(writer.bytes.map { [$0] }, room: 7) == result)
    }

    @Test func repeatsTheHistoryAndNothingBeforeIt() {
        var writer = DeflateWriter()
        writer.beginBlock(type: 1)
        // 258 bytes, 32,768 back: the furthest that there is.
        writer.append(Self.fixed[285])
        writer.append(.init(value: 29, length: 5))
        writer.append(8191, bits: 13)
        writer.append(Self.fixed[256])
        var generator = SeededGenerator(seed: 7)
        let history = generator.bytes(32 << 10)
        let result = Inflated([writer.bytes], history: history)
        #expect(result.status == .streamEnd && result.content == Array(history[..<258]))
        let short = Inflated([writer.bytes], history: Array(history.dropFirst()))
        #expect(short.status == .failed(.distanceTooFar) && short.content == [])
        #expect(Inflated(writer.bytes).status == .failed(.distanceTooFar))
    }

    @Test func overlapsWhateverTheDistance() {
        var generator = SeededGenerator(seed: 8)
        for distance in 1...70 {
            let unit = generator.bytes(distance)
            let content = Array([[UInt8]](repeating: unit, count: 2 + 700 / distance).joined())
            #expect(Inflated(Zlib.deflate(content) + WrongStreams.padding).content == content)
        }
    }

    @Test(arguments: 0..<5)
    func agreesWithZlibOnDamagedStreams(strategy: Int32) {
        var generator = SeededGenerator(seed: UInt64(strategy))
        var parameters = Zlib.Parameters()
        parameters.strategy = strategy
        parameters.memoryLevel = 1
        let stored = Zlib.deflate(lines(30) + generator.bytes(300), .none, parameters)
        for damaged in bitFlips(of: stored, every: 5) {
            let (content, verdict) = Zlib.inflate(damaged)
            let result = Inflated([damaged])
            #expect(result.content == content)
            switch (result.status, verdict) {
            case (.streamEnd, .end(let consumed)): #expect(result.consumed == consumed)
            case (.failed, .corrupt), (.needsInput, .truncated): break
            default: Issue.record("\(result.status), zlib \(verdict)")
            }
        }
    }
}
