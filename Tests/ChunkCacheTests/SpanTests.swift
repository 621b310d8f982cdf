// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@testable import ChunkCache

@Suite("Spans in the cache", .timeLimit(.minutes(5)))
struct SpanTests {
    /// A gzip layer of 40 chunks of 3000 bytes, in spans of some of them.
    private struct Layer: ChunkTable {
        var chunks: [Chunk] = []
        var contents: [[UInt8]] = []
        var spans: [LayerSpan] = []
        let stored: [UInt8]

        static let chunkSize = 3000

        init() throws {
            let content = Array(lines(4000)[..<(40 * Self.chunkSize)])
            var parameters = Zlib.Parameters()
            parameters.memoryLevel = 1
            stored = Zlib.deflate(content, .gzip, parameters)
            let builder = CheckpointBuilder(spanSize: 50_000)
            var input = CheckpointStream(ArrayStream(stored), builder)
            var buffer = [UInt8](repeating: 0, count: Self.chunkSize)
            for start in stride(from: 0, to: content.count, by: Self.chunkSize) {
                builder.add(pieceAt: UncompressedOffset(UInt64(start)), size: Self.chunkSize)
                let count = try unsafe buffer.withUnsafeMutableBytes { buffer in
                    try unsafe input.readFully(into: buffer)
                }
                #expect(count == Self.chunkSize)
                contents.append(buffer)
            }
            _ = try input.readAll(limit: 1)
            spans = builder.finish()
            for (index, part) in contents.enumerated() {
                let start = UInt64(index * Self.chunkSize)
                let number = try #require(spans.lastIndex { $0.firstPiece <= start })
                let span = spans[number]
                chunks.append(
                    Chunk(
                        digest: StreamingDigest.digest(of: part),
                        compressedOffset: CompressedOffset(span.stored.lowerBound),
                        compressedSize: UInt32(span.stored.count),
                        uncompressedOffset: UncompressedOffset(UInt64(index) * 4096),
                        uncompressedSize: UInt32(part.count),
                        batch: BatchPlace(
                            offset: UInt32(start - span.content.lowerBound),
                            size: UInt32(span.content.count),
                            checkpoint: UInt32(number)
                        )
                    )
                )
            }
        }

        var count: Int { chunks.count }

        func chunk(at index: Int) throws(ContentError) -> Chunk {
            guard chunks.indices.contains(index) else { throw .corrupt("no chunk \(index)") }
            return chunks[index]
        }

        func withCheckpoint(
            _ index: UInt32,
            _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
        ) throws(ContentError) {
            guard spans.indices.contains(Int(index)) else { throw .corrupt("no span \(index)") }
            let window = spans[Int(index)].window
            try body(spans[Int(index)].checkpoint, window.rawSpan)
        }

        func slice(_ index: Int, _ blob: CachedBlob, place: Int = 0) -> CachedSlice {
            CachedSlice(
                blob: blob,
                chunk: index,
                start: chunks[index].uncompressedOffset,
                offset: 0,
                count: contents[index].count,
                place: place
            )
        }

        /// The chunks of a span.
        func members(of span: Int) -> [Int] {
            chunks.indices.filter { chunks[$0].batch?.checkpoint == UInt32(span) }
        }
    }

    private let fixture: CacheFixture

    init() throws {
        fixture = try CacheFixture()
    }

    private func cache(requestBytes: UInt64 = 0) throws -> ChunkCache {
        try fixture.cache(
            limits: FetchLimits(threads: 4, readAhead: ReadAhead(requestBytes: requestBytes))
        )
    }

    private func open(
        _ layer: Layer,
        _ cache: ChunkCache,
        _ source: TestSource
    ) throws -> CachedBlob {
        try cache.open(
            StreamingDigest.digest(of: layer.stored),
            key: .zero,
            table: layer,
            coding: ChunkCoding(compressor: .gzip, digester: .sha256),
            source: source,
            viewSize: UInt64(layer.count) * 4096
        )
    }

    private func read(
        _ index: Int,
        of layer: Layer,
        _ blob: CachedBlob,
        _ cache: ChunkCache
    ) throws -> [UInt8] {
        let answer = Answer()
        cache.fetch(
            [layer.slice(index, blob)],
            byteCount: Layer.chunkSize,
            lastChunk: layer.count - 1,
            for: answer
        )
        return try answer.bytes()
    }

    @Test func aSpanComesWithOneRequestAndAllItsChunks() throws {
        let layer = try Layer()
        #expect(layer.spans.count >= 3)
        let cache = try cache()
        let source = TestSource(layer.stored)
        let blob = try open(layer, cache, source)
        let members = layer.members(of: 1)
        // Not the first of them: those before it come as well.
        let index = members[members.count / 2]
        #expect(try read(index, of: layer, blob, cache) == layer.contents[index])
        cache.close()
        let span = layer.spans[1].stored
        #expect(source.ranges == [Int(span.lowerBound)..<Int(span.upperBound)])
        #expect(members.allSatisfy { blob.backing.contains($0) })
        #expect(!blob.backing.contains(members[0] - 1))
    }

    @Test(arguments: [0, 500, 1 << 20])
    func noSpanIsFetchedTwice(requestBytes: UInt64) throws {
        let layer = try Layer()
        let cache = try cache(requestBytes: requestBytes)
        let source = TestSource(layer.stored)
        let blob = try open(layer, cache, source)
        for index in 0..<layer.count {
            #expect(try read(index, of: layer, blob, cache) == layer.contents[index])
        }
        cache.close()
        #expect(source.ranges.count <= layer.spans.count)
        // Spans share a block.
        let bytes = source.ranges.reduce(0) { $0 + $1.count }
        #expect(bytes <= layer.spans.reduce(0) { $0 + $1.stored.count })
    }

    @Test func spansThatOverlapComeWithOneRequest() throws {
        let layer = try Layer()
        let cache = try cache()
        let source = TestSource(layer.stored)
        let blob = try open(layer, cache, source)
        let first = layer.members(of: 1)[0]
        let answer = Answer()
        let slices = [
            layer.slice(first - 1, blob), layer.slice(first, blob, place: Layer.chunkSize),
        ]
        cache.fetch(slices, byteCount: 2 * Layer.chunkSize, for: answer)
        #expect(try answer.bytes() == layer.contents[first - 1] + layer.contents[first])
        cache.close()
        #expect(
            source.ranges == [
                0 + Int(layer.spans[0].stored.lowerBound)..<Int(layer.spans[1].stored.upperBound)
            ]
        )
        #expect(
            (layer.members(of: 0) + layer.members(of: 1)).allSatisfy { blob.backing.contains($0) }
        )
    }

    /// What an index may say that is wrong.
    enum Lie: CaseIterable {
        case digest
        case window
        case bits
        case checkpoint
        case contentSize
        case order
        case range
    }

    @Test(arguments: Lie.allCases)
    func aLieGivesAnErrorAndNoByte(lie: Lie) throws {
        var layer = try Layer()
        let truth = layer
        let index = layer.members(of: 1)[2]
        switch lie {
        case .digest: layer.chunks[index].digest = StreamingDigest.digest(of: [1])
        case .window: layer.spans[1].window = layer.spans[1].window.map { $0 ^ 1 }
        case .bits:
            layer.spans[1].checkpoint.bitCount = (layer.spans[1].checkpoint.bitCount + 3) % 8
        case .checkpoint: layer.chunks[index].batch?.checkpoint = 99
        case .contentSize: layer.chunks[index].batch?.size = 1 << 24
        case .order: layer.spans.swapAt(0, 1)
        case .range:
            layer.chunks[index].compressedOffset = CompressedOffset(UInt64(layer.stored.count))
        }
        let cache = try cache()
        let blob = try open(layer, cache, TestSource(layer.stored))
        let answer = Answer()
        cache.fetch([layer.slice(index, blob)], byteCount: Layer.chunkSize, for: answer)
        let error = answer.error
        #expect(
            error?.kind == .corrupt || error?.kind == .truncated,
            "\(lie): \(error?.message ?? "")"
        )
        cache.close()
        // Whatever was stored is right.
        #expect(!blob.backing.contains(index))
        for other in truth.chunks.indices where blob.backing.contains(other) {
            var bytes = [UInt8](repeating: 0, count: Layer.chunkSize)
            let place = truth.chunks[other].uncompressedOffset
            let isHere = unsafe bytes.withUnsafeMutableBytes { bytes in
                unsafe blob.backing.read(chunk: other, at: place, into: bytes)
            }
            #expect(isHere && bytes == truth.contents[other])
        }
    }
}
