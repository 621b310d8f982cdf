// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux
import TestSupport
import Testing

@testable import ChunkCache

@Suite("Batches in the cache")
struct BatchTests {
    /// Chunks of 100, 200 and 300 bytes in one batch, by BLAKE3, the last one's digest being wrong
    /// if asked for.
    private struct Batch {
        var chunks: [Chunk] = []
        var contents: [[UInt8]] = []
        let stored: [UInt8]

        init(isLastDamaged: Bool = false) throws {
            contents = [100, 200, 300].map { size in Array(lines(50)[size..<2 * size]) }
            let content = contents.flatMap { $0 }
            stored = try ZstdBuffer.compress(content)
            var offset: UInt32 = 0
            for (index, part) in contents.enumerated() {
                let isDamaged = isLastDamaged && index == 2
                chunks.append(
                    Chunk(
                        digest: BLAKE3.digest(of: (isDamaged ? [1] : part).rawSpan),
                        compressedOffset: CompressedOffset(0),
                        compressedSize: UInt32(stored.count),
                        uncompressedOffset: UncompressedOffset(UInt64(index) * 4096),
                        uncompressedSize: UInt32(part.count),
                        batch: BatchPlace(offset: offset, size: UInt32(content.count))
                    )
                )
                offset += UInt32(part.count)
            }
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
    }

    private func open(
        _ batch: Batch,
        _ cache: ChunkCache,
        _ source: TestSource
    ) throws -> CachedBlob {
        try cache.open(
            StreamingDigest.digest(of: batch.stored),
            key: .zero,
            table: ArrayTable(chunks: batch.chunks),
            coding: ChunkCoding(compressor: .zstd, digester: .blake3),
            source: source,
            viewSize: 3 * 4096
        )
    }

    @Test func allMembersComeWithOneFetch() throws {
        let fixture = try CacheFixture()
        let cache = try fixture.cache()
        let batch = try Batch()
        let source = TestSource(batch.stored)
        let blob = try open(batch, cache, source)
        let answer = Answer()
        cache.fetch([batch.slice(1, blob)], byteCount: 200, for: answer)
        #expect(try answer.bytes() == batch.contents[1])
        cache.close()
        #expect(source.ranges == [0..<batch.stored.count])
        #expect((0..<3).allSatisfy { blob.backing.contains($0) })
        let memory = try AnonymousMemory(byteCount: 300)
        let isHere = try unsafe blob.readIfPresent(
            chunk: 2,
            at: batch.chunks[2].uncompressedOffset,
            from: 0,
            into: memory.bytes
        )
        #expect(isHere)
        #expect(unsafe Array(memory.bytes) == batch.contents[2])
    }

    @Test func severalMembersInOneReadAreOneFetch() throws {
        let fixture = try CacheFixture()
        let cache = try fixture.cache()
        let batch = try Batch()
        let source = TestSource(batch.stored)
        let blob = try open(batch, cache, source)
        let answer = Answer()
        let slices = [batch.slice(0, blob), batch.slice(2, blob, place: 100)]
        cache.fetch(slices, byteCount: 400, for: answer)
        #expect(try answer.bytes() == batch.contents[0] + batch.contents[2])
        #expect(source.ranges.count == 1)
        cache.close()
    }

    @Test func aDamagedMemberHarmsNoOther() throws {
        let fixture = try CacheFixture()
        let cache = try fixture.cache()
        let batch = try Batch(isLastDamaged: true)
        let blob = try open(batch, cache, TestSource(batch.stored))
        let good = Answer()
        cache.fetch([batch.slice(0, blob)], byteCount: 100, for: good)
        #expect(try good.bytes() == batch.contents[0])
        let bad = Answer()
        cache.fetch([batch.slice(2, blob)], byteCount: 300, for: bad)
        #expect(bad.error?.kind == .corrupt)
        cache.close()
        #expect(!blob.backing.contains(2))
    }
}
