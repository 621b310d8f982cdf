// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@Suite("Span decoder")
struct SpanDecoderTests {
    /// A gzip file, its content, and all the places where a span may begin.
    private struct Layer {
        struct Place {
            var boundary: BlockBoundary
            var window: [UInt8]
        }

        var content: [UInt8]
        var stored: [UInt8]
        var places: [Place] = []

        init(_ members: [[UInt8]], _ parameters: [Zlib.Parameters]) throws {
            content = members.flatMap { $0 }
            stored = zip(members, parameters).flatMap { Zlib.deflate($0, .gzip, $1) }
            var decoder = GzipDecoder(ArrayStream(stored))
            var buffer = [UInt8](repeating: 0, count: 9000)
            while true {
                let count = try unsafe buffer.withUnsafeMutableBytes { buffer in
                    try unsafe decoder.readBlock(into: buffer)
                }
                if let boundary = decoder.boundary {
                    places.append(Place(boundary: boundary, window: decoder.history))
                } else if count == 0 {
                    return
                }
            }
        }

        /// The checkpoint at a place.
        func checkpoint(_ place: Place) -> Checkpoint {
            Checkpoint(
                bitCount: place.boundary.bitCount,
                byte: stored[Int(place.boundary.compressedByte.bytes)]
            )
        }

        /// Decodes from a place on.
        func decode(
            _ decoder: SpanDecoder,
            from place: Place,
            _ count: Int,
            window: [UInt8]? = nil,
            end: Int? = nil
        ) throws -> [UInt8] {
            let start = SpanDecoder.contentOffset
            let window = window ?? place.window
            let checkpoint = checkpoint(place)
            var memory = [UInt8](repeating: 0xA5, count: start + count)
            let span = Array(stored[Int(place.boundary.spanOffset.bytes)..<(end ?? stored.count)])
            try unsafe memory.withUnsafeMutableBytes { memory in
                try unsafe span.withUnsafeBytes { span in
                    try unsafe decoder.decode(
                        span,
                        from: checkpoint,
                        window: window.rawSpan,
                        into: memory
                    )
                }
            }
            return Array(memory[start...])
        }
    }

    /// Levels, strategies, flushes and sizes of zlib's blocks, each with two members.
    private static let parameters: [Zlib.Parameters] = {
        var all: [Zlib.Parameters] = []
        for (level, strategy, memory, flush) in [
            (1, 0, 8, 0), (6, 0, 8, 0), (9, 0, 9, 0), (0, 0, 8, 0), (6, 0, 1, 0), (6, 2, 1, 0),
            (6, 3, 2, 0), (6, 4, 1, 0), (6, 0, 8, 1), (6, 0, 8, 2), (6, 0, 8, 3), (6, 0, 8, 5),
        ] {
            var one = Zlib.Parameters()
            (one.level, one.strategy) = (Int32(level), Int32(strategy))
            (one.memoryLevel, one.flush) = (Int32(memory), Int32(flush))
            one.pieceSize = flush == 0 ? Int.max : 3000
            all.append(one)
        }
        return all
    }()

    private static func contents(seed: UInt64) -> [[UInt8]] {
        var generator = SeededGenerator(seed: seed)
        let mixed = (0..<16).flatMap { index in
            lines(30 + index) + generator.bytes(Int.random(in: 0...900, using: &generator))
                + [UInt8](repeating: UInt8(index), count: 500)
        }
        return [mixed + generator.bytes(20_000) + mixed, [], mixed.reversed(), lines(900)]
    }

    @Test(arguments: 0..<12)
    func givesWhatPlainInflateGives(variant: Int) throws {
        let members = Self.contents(seed: UInt64(variant))
        let layer = try Layer(
            members,
            members.indices.map { Self.parameters[(variant + $0) % Self.parameters.count] }
        )
        #expect(layer.places.count >= members.count)
        var generator = SeededGenerator(seed: 77)
        let decoder = SpanDecoder()
        // Of many blocks some.
        let step = max(1, layer.places.count / 40)
        for index in stride(from: 0, to: layer.places.count, by: step) {
            let place = layer.places[index]
            let start = Int(place.boundary.uncompressedOffset.bytes)
            let left = layer.content.count - start
            for count in [left, min(left, 1), Int.random(in: 0...left, using: &generator)] {
                let expected = Array(layer.content[start..<start + count])
                #expect(try layer.decode(decoder, from: place, count) == expected)
            }
        }
    }

    @Test func needsOnlyTheBytesUpToWhatIsDecoded() throws {
        let layer = try Layer(Self.contents(seed: 3), Array(Self.parameters[4...7]))
        let decoder = SpanDecoder()
        for (place, next) in zip(layer.places, layer.places.dropFirst(3)).prefix(200) {
            let start = Int(place.boundary.uncompressedOffset.bytes)
            let end = Int(next.boundary.uncompressedOffset.bytes)
            // The byte that the next block shares is the last.
            let stored = Int(next.boundary.spanOffset.bytes)
            let content = try layer.decode(decoder, from: place, end - start, end: stored)
            #expect(content == Array(layer.content[start..<end]))
        }
    }

    @Test func aShorterWindowWillDoIfNothingBeforeItIsRepeated() throws {
        let layer = try Layer([lines(3000)], [Self.parameters[4]])
        let place = layer.places[5]
        let decoder = SpanDecoder()
        let error = #expect(throws: ContentError.self) {
            try layer.decode(decoder, from: place, 1000, window: [])
        }
        #expect(error?.message.contains("span is corrupt") == true)
        #expect(try layer.decode(decoder, from: layer.places[0], 1000, window: []).count == 1000)
    }

    @Test func windowsThatAreTooLongAreRefused() throws {
        let layer = try Layer([lines(3000)], [Self.parameters[4]])
        let long = [UInt8](repeating: 0, count: Checkpoint.windowSize + 1)
        #expect(throws: ContentError.self) {
            try layer.decode(SpanDecoder(), from: layer.places[5], 1000, window: long)
        }
    }

    @Test func everyCutIsAnError() throws {
        let layer = try Layer([lines(80), lines(90)], [Self.parameters[4], Self.parameters[4]])
        let place = layer.places[0]
        let start = Int(place.boundary.spanOffset.bytes)
        let decoder = SpanDecoder()
        // In the last bytes stand a trailer, the end of the last block, and bits of what is whole.
        for end in start..<layer.stored.count - 16 {
            let cut = try? layer.decode(decoder, from: place, layer.content.count, end: end)
            #expect(cut == nil, "up to \(end)")
        }
        let error = #expect(throws: ContentError.self) {
            try layer.decode(decoder, from: place, layer.content.count + 1)
        }
        #expect(error?.kind == .truncated)
    }

    @Test func flippedBitsAreErrorsOrOtherBytes() throws {
        var layer = try Layer([lines(60), lines(70)], [Self.parameters[4], Self.parameters[7]])
        let good = layer.stored
        let decoder = SpanDecoder()
        for flipped in bitFlips(of: good, every: 7) {
            layer.stored = flipped
            for place in [layer.places[0], layer.places[layer.places.count / 2]] {
                _ = try? layer.decode(decoder, from: place, 900)
            }
        }
        layer.stored = good
        #expect(
            try layer.decode(decoder, from: layer.places[0], 900) == Array(layer.content[..<900])
        )
    }
}
