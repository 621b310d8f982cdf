// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Testing

@testable import ChunkCache

@Suite("Chunk cache", .timeLimit(.minutes(5)))
struct ChunkCacheTests {
    private let fixture: CacheFixture
    private let blob: TestBlob
    private let source: TestSource

    init() throws {
        fixture = try CacheFixture()
        blob = try TestBlob(sizes: [10_000, 5_000, 4_096, 1, 70_000])
        source = TestSource(blob.stored)
    }

    @Test func givesTheRightBytesAndFetchesThemOnce() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        for _ in 0..<2 {
            for index in blob.chunks.indices {
                #expect(try fixture.read(index, of: blob, cached, cache) == blob.contents[index])
            }
        }
        #expect(source.ranges.count == blob.chunks.count)
        let statistics = cache.statistics
        #expect(statistics.fetches == blob.chunks.count)
        #expect(statistics.fetchedBytes == blob.stored.count)
        #expect(statistics.failures == 0)
    }

    @Test func adjacentChunksOfAReadAreOneRequest() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        let answer = Answer()
        var slices = [blob.slice(0, of: cached), blob.slice(1, of: cached, place: 10_000)]
        slices[1].offset = 100
        slices[1].count = 4_900
        cache.fetch(slices, byteCount: 20_000, for: answer)
        let expected = blob.contents[0] + blob.contents[1].dropFirst(100)
        #expect(try answer.bytes() == expected + [UInt8](repeating: 0, count: 5_100))
        #expect(source.ranges.count == 1)
    }

    @Test func manyReadersOfOneChunkFetchItOnce() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        source.stall(true)
        let answers = (0..<50).map { _ in Answer() }
        let threads = ThreadGroup()
        for answer in answers {
            let slice = blob.slice(0, of: cached)
            try threads.start(name: "reader") {
                cache.fetch([slice], byteCount: slice.count, for: answer)
            }
        }
        threads.wait()
        source.waitForRequests(1)
        source.stall(false)
        for answer in answers { #expect(try answer.bytes() == blob.contents[0]) }
        #expect(source.ranges.count == 1)
        #expect(answers.allSatisfy { $0.count == 1 })
    }

    @Test func aStalledSourceStopsNobodyElse() throws {
        let cache = try fixture.cache(
            limits: FetchLimits(threads: 2, readAhead: ReadAhead(requestBytes: 0))
        )
        let cached = try fixture.open(blob, cache, source)
        #expect(try fixture.read(2, of: blob, cached, cache) == blob.contents[2])
        source.stall(true)
        let answers = (0..<1000).map { _ in Answer() }
        for (number, answer) in answers.enumerated() {
            let slice = blob.slice([0, 1, 4][number % 3], of: cached)
            cache.fetch([slice], byteCount: slice.count, for: answer)
        }
        #expect(try fixture.read(2, of: blob, cached, cache) == blob.contents[2])
        source.stall(false)
        for answer in answers { _ = try answer.bytes() }
        #expect(source.ranges.count == 4)
    }

    @Test(arguments: [TestSource.Behaviour.failing, .corrupt])
    func aFetchThatFailsIsAnErrorForAllAndTriedAgainByTheNext(
        behaviour: TestSource.Behaviour
    ) throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        source.behave(behaviour)
        for index in blob.chunks.indices {
            #expect(throws: ContentError.self) {
                try fixture.read(index, of: blob, cached, cache)
            }
        }
        let lines = fixture.logLines
        #expect(lines.count == blob.chunks.count)
        #expect(lines.allSatisfy { $0.contains("fetch failed blob=\(blob.digest) offset=") })
        #expect(cache.statistics.failures == blob.chunks.count)
        CurrentProcess.sleep(nanoseconds: RecentFailures.lifetime)
        source.behave(.good)
        for index in blob.chunks.indices {
            #expect(try fixture.read(index, of: blob, cached, cache) == blob.contents[index])
        }
    }

    @Test func oneCorruptChunkDoesNotSpoilItsNeighbour() throws {
        var chunks = blob.chunks
        chunks[0].digest = .zero
        let cache = try fixture.cache()
        let cached = try cache.open(
            blob.digest,
            key: .zero,
            table: ArrayTable(chunks: chunks),
            coding: .written,
            source: source,
            viewSize: blob.viewSize
        )
        let answer = Answer()
        let slices = [blob.slice(0, of: cached), blob.slice(1, of: cached, place: 10_000)]
        cache.fetch(slices, byteCount: 15_000, for: answer)
        #expect(answer.error?.kind == .corrupt)
        #expect(try fixture.read(1, of: blob, cached, cache) == blob.contents[1])
        #expect(source.ranges.count == 1)
    }

    @Test func recordsOutOfBoundsAreErrorsAndNeverTraps() throws {
        let huge: [(inout Chunk) -> Void] = [
            { $0.compressedOffset = CompressedOffset(.max) },
            { $0.compressedSize = 0 },
            { $0.compressedSize = .max },
            { $0.uncompressedOffset = UncompressedOffset(.max - 4095) },
            { $0.uncompressedOffset = UncompressedOffset(1) },
            { $0.uncompressedSize = .max },
            { $0.uncompressedSize = 0 },
        ]
        let cache = try fixture.cache()
        for (number, change) in huge.enumerated() {
            var chunks = blob.chunks
            change(&chunks[0])
            let cached = try cache.open(
                blob.digest,
                key: Digest(bytes: [UInt8](repeating: UInt8(number), count: 32)) ?? .zero,
                table: ArrayTable(chunks: chunks),
                coding: .written,
                source: source,
                viewSize: blob.viewSize
            )
            #expect(throws: ContentError.self) {
                try fixture.read(0, of: blob, cached, cache)
            }
        }
    }

    @Test func chunksThatOverlapAreRefused() throws {
        var chunks = blob.chunks
        chunks[3].uncompressedOffset = chunks[0].uncompressedOffset
        let cache = try fixture.cache()
        let error = #expect(throws: ContentError.self) {
            try cache.open(
                blob.digest,
                key: .zero,
                table: ArrayTable(chunks: chunks),
                coding: .written,
                source: source,
                viewSize: blob.viewSize
            )
        }
        #expect(error?.message.contains("chunks 0 and 3 overlap") == true)
    }

    @Test func aFileThatPlacesAChunkElsewhereIsRefused() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        let memory = try AnonymousMemory(byteCount: 10)
        #expect(throws: ContentError.self) {
            try unsafe cached.readIfPresent(
                chunk: 0,
                at: UncompressedOffset(4096),
                from: 0,
                into: memory.bytes
            )
        }
        #expect(throws: ContentError.self) {
            try unsafe cached.readIfPresent(
                chunk: 0,
                at: UncompressedOffset(0),
                from: 9_991,
                into: memory.bytes
            )
        }
    }

    @Test func aSecondOwnerIsToldTheFirst() throws {
        let cache = try fixture.cache()
        let error = #expect(throws: SystemError.self) { try fixture.cache() }
        #expect(error?.code == EWOULDBLOCK)
        #expect(error?.description.contains("process \(getpid()) owns") == true)
        cache.close()
    }

    @Test func otherRecordsForTheSameBlobAreAnotherCache() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        _ = try fixture.read(0, of: blob, cached, cache)
        let other = try cache.open(
            blob.digest,
            key: StreamingDigestOfNothing.digest,
            table: ArrayTable(chunks: blob.chunks),
            coding: .written,
            source: source,
            viewSize: blob.viewSize
        )
        _ = try fixture.read(0, of: blob, other, cache)
        #expect(source.ranges.count == 2)
    }

    private enum StreamingDigestOfNothing {
        static let digest = Digest(bytes: [UInt8](repeating: 9, count: 32)) ?? .zero
    }

    @Test func afterCloseReadsFail() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        source.stall(true)
        let running = Answer()
        cache.fetch([blob.slice(0, of: cached)], byteCount: 10_000, for: running)
        source.waitForRequests(1)
        let threads = ThreadGroup()
        try threads.start(name: "close") { cache.close() }
        usleep(20_000)
        source.stall(false)
        threads.wait()
        #expect(try running.bytes() == blob.contents[0])
        let late = Answer()
        cache.fetch([blob.slice(1, of: cached)], byteCount: 5_000, for: late)
        #expect(late.error?.message == "the chunk cache is closed")
    }
}
