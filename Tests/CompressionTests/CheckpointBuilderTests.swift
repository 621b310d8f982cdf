// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@Suite("Checkpoint builder")
struct CheckpointBuilderTests {
    /// A gzip file, the pieces of content that matter, and the spans that were made for them.
    private struct Layer {
        var content: [UInt8] = []
        var stored: [UInt8] = []
        var pieces: [Range<Int>] = []
        var spans: [LayerSpan] = []

        /// Reads the file as an archive is read: a gap, then a piece, and so on.
        init(
            _ members: [[UInt8]],
            _ parameters: [Zlib.Parameters],
            spanSize: UInt64,
            sizes: ClosedRange<Int>,
            gaps: ClosedRange<Int> = 0...1500,
            lookAhead: Int,
            seed: UInt64
        ) throws {
            var generator = SeededGenerator(seed: seed)
            content = members.flatMap { $0 }
            stored = zip(members, parameters).flatMap { Zlib.deflate($0, .gzip, $1) }
            let builder = CheckpointBuilder(spanSize: spanSize)
            let stream = CheckpointStream(TrickleStream(stored, piece: 70_000), builder)
            var input = BufferedStream(stream, capacity: lookAhead)
            var read: [UInt8] = []
            while read.count < content.count {
                let left = content.count - read.count
                let gap = min(Int.random(in: gaps, using: &generator), left)
                read += try Self.read(gap, &input)
                let size = min(Int.random(in: sizes, using: &generator), left - gap)
                guard size > 0 else { continue }
                builder.add(pieceAt: UncompressedOffset(UInt64(read.count)), size: size)
                pieces.append(read.count..<read.count + size)
                read += try Self.read(size, &input)
            }
            #expect(read == content)
            #expect(try Self.read(1, &input) == [])
            spans = builder.finish()
        }

        private static func read(
            _ count: Int,
            _ input: inout BufferedStream<CheckpointStream<TrickleStream>>
        ) throws -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            let done = try unsafe bytes.withUnsafeMutableBytes {
                try unsafe input.readFully(into: $0)
            }
            return Array(bytes[..<done])
        }

        /// What a reader decodes of a span.
        func decode(_ span: LayerSpan, _ decoder: SpanDecoder) throws -> [UInt8] {
            let start = SpanDecoder.contentOffset
            var memory = [UInt8](repeating: 0xA5, count: start + span.content.count)
            let bytes = Array(stored[Int(span.stored.lowerBound)..<Int(span.stored.upperBound)])
            try unsafe memory.withUnsafeMutableBytes { memory in
                try unsafe bytes.withUnsafeBytes { bytes in
                    try unsafe decoder.decode(
                        bytes,
                        from: span.checkpoint,
                        window: span.window.rawSpan,
                        into: memory
                    )
                }
            }
            return Array(memory[start...])
        }
    }

    private static func parameters(_ level: Int32, memory: Int32, flush: Int32) -> Zlib.Parameters {
        var parameters = Zlib.Parameters()
        (parameters.level, parameters.memoryLevel, parameters.flush) = (level, memory, flush)
        parameters.pieceSize = flush == 0 ? Int.max : 5000
        return parameters
    }

    private static let kinds = [
        parameters(6, memory: 8, flush: 0), parameters(1, memory: 1, flush: 0),
        parameters(0, memory: 8, flush: 0), parameters(9, memory: 9, flush: 1),
        parameters(6, memory: 1, flush: 3), parameters(6, memory: 2, flush: 5),
    ]

    private static func members(_ seed: UInt64) -> [[UInt8]] {
        var generator = SeededGenerator(seed: seed)
        let noise = generator.bytes(50_000)
        return [
            lines(9000) + noise + lines(2000) + noise, [], lines(300),
            noise + [UInt8](repeating: 7, count: 300_000) + lines(4000),
        ]
    }

    @Test(arguments: 0..<12)
    func everyPieceIsInItsSpan(seed: Int) throws {
        let members = Self.members(UInt64(seed))
        let layer = try Layer(
            members,
            members.indices.map { Self.kinds[(seed + $0) % Self.kinds.count] },
            spanSize: [20_000, 100_000, 1 << 20, 1][seed % 4],
            sizes: [1...100, 1...60_000, 30_000...30_000][seed % 3],
            lookAhead: [1, 5_000, 256 << 10][seed / 4],
            seed: UInt64(seed)
        )
        #expect(layer.spans.count >= 1)
        let decoder = SpanDecoder()
        let contents = try layer.spans.map { try layer.decode($0, decoder) }
        for (span, content) in zip(layer.spans, contents) {
            let range = Int(span.content.lowerBound)..<Int(span.content.upperBound)
            // With the window as it was kept, zeros and all.
            #expect(content == Array(layer.content[range]))
            #expect(
                [0, Checkpoint.windowSize].contains(span.window.count) || range.lowerBound < 32768
            )
        }
        for piece in layer.pieces {
            let span = try #require(
                layer.spans.last { $0.firstPiece <= UInt64(piece.lowerBound) }
            )
            #expect(span.content.lowerBound <= UInt64(piece.lowerBound))
            #expect(span.content.upperBound >= UInt64(piece.upperBound))
        }
        for (span, next) in zip(layer.spans, layer.spans.dropFirst()) {
            #expect(span.content.lowerBound < next.content.lowerBound)
            #expect(span.stored.lowerBound < next.stored.lowerBound)
        }
    }

    @Test func spansHaveTheSizeThatWasAskedFor() throws {
        let members = [lines(60_000)]
        let layer = try Layer(
            members,
            [Self.kinds[1]],
            spanSize: 200_000,
            sizes: 10_000...10_000,
            lookAhead: 5000,
            seed: 1
        )
        #expect(
            (layer.content.count / 220_000...layer.content.count / 150_000) ~= layer.spans.count
        )
        // They share a block at most, which is small here.
        for (span, next) in zip(layer.spans, layer.spans.dropFirst()) {
            #expect(span.content.count <= 200_000)
            #expect(next.content.lowerBound + 40_000 > span.content.upperBound)
        }
    }

    @Test func windowsKeepOnlyWhatIsRepeated() throws {
        var generator = SeededGenerator(seed: 5)
        // Nothing of noise is repeated, but by chance; of lines everything may be.
        let noise = generator.bytes(600_000)
        let layer = try Layer(
            [noise],
            [Self.kinds[3]],
            spanSize: 100_000,
            sizes: 9000...9000,
            lookAhead: 5000,
            seed: 1
        )
        #expect(layer.spans.count > 4)
        for span in layer.spans { #expect(span.window.count(where: { $0 != 0 }) < 2000) }
        let text = try Layer(
            [lines(40_000)],
            [Self.kinds[0]],
            spanSize: 100_000,
            sizes: 9000...9000,
            lookAhead: 5000,
            seed: 1
        )
        #expect(text.spans.dropFirst().allSatisfy { $0.window.contains { $0 != 0 } })
    }

    @Test func aGapWithoutPiecesIsInNoSpan() throws {
        let layer = try Layer(
            [lines(150_000)],
            [Self.kinds[0]],
            spanSize: 100_000,
            sizes: 1000...1000,
            gaps: 2_500_000...2_500_000,
            lookAhead: 5000,
            seed: 1
        )
        #expect(layer.spans.count == layer.pieces.count)
        // A piece and the blocks that it lies in.
        #expect(layer.spans.allSatisfy { $0.stored.count < 40_000 })
    }
}
