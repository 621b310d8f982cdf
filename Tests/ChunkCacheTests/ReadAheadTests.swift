// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Testing

@testable import ChunkCache

@Suite("Read-ahead", .timeLimit(.minutes(5)))
struct ReadAheadTests {
    private let fixture: CacheFixture

    init() throws {
        fixture = try CacheFixture()
    }

    private func cache(_ requestBytes: UInt64, threads: Int = 4) throws -> ChunkCache {
        try fixture.cache(
            limits: FetchLimits(
                threads: threads,
                readAhead: ReadAhead(
                    requestBytes: requestBytes,
                    backgroundBytes: requestBytes * 4
                )
            )
        )
    }

    /// Waits until the blob has the chunks.
    private func wait(for chunks: Range<Int>, of blob: CachedBlob) {
        waitUntil { chunks.allSatisfy { blob.backing.contains($0) } }
    }

    /// Ten seconds, on a machine that is busy with other work.
    private func waitUntil(_ condition: () -> Bool) {
        for _ in 0..<10_000 where !condition() { pause() }
        #expect(condition())
    }

    private func pause() {
        _ = Monitor(0).wait(milliseconds: 1) { _ in Bool?.none }
    }

    @Test func aMissTakesItsFollowersAlongInOneRequest() throws {
        // Odd chunks are noise, and stored as they are: two of them and what is between.
        let blob = try TestBlob(sizes: [10_000, 5_000, 10_000, 5_000, 10_000, 60_000])
        let source = TestSource(blob.stored)
        let cache = try cache(11_000)
        let cached = try fixture.open(blob, cache, source)
        #expect(try fixture.read(1, of: blob, cached, cache) == blob.contents[1])
        // What lies around may have been asked for at the same moment, and be noted first.
        let start = Int(blob.chunks[1].compressedOffset.bytes)
        #expect(source.ranges.contains(start..<Int(blob.chunks[5].compressedOffset.bytes)))
        // And when there was time for it, what lies around.
        wait(for: 0..<6, of: cached)
        cache.close()
        #expect(source.ranges.reduce(0) { $0 + $1.count } == blob.stored.count)
        #expect(cache.statistics.fetchedBytes == blob.stored.count)
    }

    @Test func withoutReadAheadNothingElseIsFetched() throws {
        let blob = try TestBlob(sizes: [Int](repeating: 5_000, count: 8))
        let source = TestSource(blob.stored)
        let cache = try cache(0)
        let cached = try fixture.open(blob, cache, source)
        for index in 0..<4 { _ = try fixture.read(index, of: blob, cached, cache) }
        cache.close()
        #expect(source.ranges.count == 4)
        #expect(!cached.backing.contains(4))
    }

    @Test func aSequentialReaderFindsTheRestOfItsFile() throws {
        let blob = try TestBlob(sizes: [Int](repeating: 5_000, count: 300))
        let source = TestSource(blob.stored)
        let cache = try cache(6_000)
        let cached = try fixture.open(blob, cache, source)
        // The file is chunks 0...199: a few chunks in a row, and the rest comes by itself, as far
        // as 64 times 6,000 bytes go: 76 chunks.
        for index in 0..<6 {
            let answer = Answer()
            let slice = blob.slice(index, of: cached)
            var bytes: [UInt8] = []
            let memory = try AnonymousMemory(byteCount: slice.count)
            let isHere = try unsafe cached.readIfPresent(
                chunk: index,
                at: slice.start,
                from: 0,
                into: memory.bytes
            )
            if isHere {
                unsafe bytes = Array(memory.bytes)
            } else {
                cache.fetch([slice], byteCount: slice.count, lastChunk: 199, for: answer)
                bytes = try answer.bytes()
            }
            #expect(bytes == blob.contents[index])
        }
        wait(for: 0..<70, of: cached)
        cache.close()
        #expect(!cached.backing.contains(205))
        #expect(cache.statistics.fetchedBytes < blob.stored.count)
    }

    @Test func aFailedRequestIsTriedAgainChunkByChunk() throws {
        let blob = try TestBlob(sizes: [5_000, 5_000, 5_000])
        // The last chunk's end is missing: requests for it fail, others do not.
        let source = TestSource(blob.stored)
        source.cut(at: blob.stored.count - 1)
        let cache = try cache(20_000)
        let cached = try fixture.open(blob, cache, source)
        let both = Answer()
        cache.fetch(
            [blob.slice(1, of: cached), blob.slice(2, of: cached, place: 5_000)],
            byteCount: 10_000,
            for: both
        )
        let one = Answer()
        cache.fetch([blob.slice(1, of: cached)], byteCount: 5_000, for: one)
        #expect(try one.bytes() == blob.contents[1])
        #expect(both.error?.kind == .truncated)
        cache.close()
        let failures = fixture.logLines.filter { $0.contains("fetch failed") }
        #expect(failures.count == 1)
    }

    @Test func neighboursThatFailAreNobodysError() throws {
        let blob = try TestBlob(sizes: [5_000, 5_000, 5_000, 5_000])
        var chunks = blob.chunks
        chunks[2].digest = chunks[1].digest
        let source = TestSource(blob.stored)
        let cache = try cache(1 << 20)
        let cached = try cache.open(
            blob.digest,
            key: .zero,
            table: ArrayTable(chunks: chunks),
            coding: .written,
            source: source,
            viewSize: blob.viewSize
        )
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        wait(for: 3..<4, of: cached)
        #expect(fixture.logLines.isEmpty)
        #expect(cache.statistics.failures == 0)
        #expect(throws: ContentError.self) { try fixture.read(2, of: blob, cached, cache) }
        #expect(fixture.logLines.count == 1)
    }

    @Test func whatReadsWaitForDoesNotWaitForTheRest() throws {
        let blob = try TestBlob(sizes: [Int](repeating: 5_000, count: 40))
        let source = TestSource(blob.stored)
        // Three threads, one of them for demand.
        let cache = try cache(1_000, threads: 3)
        let cached = try fixture.open(blob, cache, source)
        // Not the first one: what it misses and what lies around are fetched side by side.
        source.stall(allBut: blob.chunks[0].compressedOffset)
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        // The neighbourhood stalls; a read elsewhere has a thread.
        source.waitForRequests(2)
        let answer = Answer()
        cache.fetch([blob.slice(39, of: cached)], byteCount: 5_000, for: answer)
        let wanted = Int(blob.chunks[39].compressedOffset.bytes)
        waitUntil { source.ranges.contains { $0.lowerBound == wanted } }
        source.stall(false)
        #expect(try answer.bytes() == blob.contents[39])
    }

    @Test func aReadIsGivenUpAtItsDeadlineAndTheFetchGoesOn() throws {
        let blob = try TestBlob(sizes: [5_000, 5_000])
        let source = TestSource(blob.stored)
        let cache = try fixture.cache(
            limits: FetchLimits(
                threads: 2,
                readAhead: ReadAhead(requestBytes: 0),
                deadlineMilliseconds: 100
            )
        )
        let cached = try fixture.open(blob, cache, source)
        source.stall(true)
        let answer = Answer()
        cache.fetch([blob.slice(0, of: cached)], byteCount: 5_000, for: answer)
        #expect(answer.error?.message.contains("deadline") == true)
        #expect(fixture.logLines.filter { $0.contains("read given up") }.count == 1)
        source.stall(false)
        wait(for: 0..<1, of: cached)
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        #expect(source.ranges.count == 1)
        #expect(answer.count == 1)
    }
}

@Suite("Sequential readers")
struct SequentialReadersTests {
    private let limit: UInt64 = 8 << 20

    @Test func theSecondMissInARowBeginsAndEachMarkDoubles() {
        var readers = SequentialReaders()
        #expect(readers.missed(0...0, next: 1, last: 99, limit: limit) == nil)
        #expect(readers.marks.contains(1))
        guard let first = readers.missed(1...1, next: 2, last: 99, limit: limit) else {
            Issue.record("no window")
            return
        }
        #expect(first.chunks == 2...99)
        #expect(first.bytes == 1 << 20)
        readers.asked(first, next: 3)
        #expect(readers.marks.contains(2))
        let second = readers.reached(2, limit: limit)
        #expect(second?.chunks == 3...99)
        #expect(second?.bytes == 2 << 20)
        #expect(readers.reached(2, limit: limit) == nil)
    }

    @Test func theWindowEndsWithTheFileAndTheLimit() {
        var readers = SequentialReaders()
        _ = readers.missed(0...0, next: 1, last: 60, limit: limit)
        var next = 1
        var sizes: [UInt64] = []
        while let window = readers.reached(next, limit: limit) {
            sizes.append(window.bytes >> 20)
            let end = min(next + Int(window.bytes >> 20), 61)
            readers.asked(window, next: end)
            next = window.chunks.lowerBound
        }
        #expect(sizes.prefix(5) == [1, 2, 4, 8, 8])
        #expect(readers.marks.allSatisfy { $0 == nil })
    }

    @Test func scatteredMissesFetchNothingAhead() {
        var readers = SequentialReaders()
        for index in [50, 7, 90, 31, 66, 12, 81] {
            #expect(
                readers.missed(index...index, next: index + 1, last: 99, limit: limit) == nil
            )
        }
        #expect(readers.marks.compactMap { $0 }.count == SequentialReaders.count)
    }

    @Test func fourReadersAreToldApart() {
        var readers = SequentialReaders()
        for start in [0, 100, 200, 300] {
            #expect(
                readers.missed(start...start, next: start + 1, last: start + 99, limit: limit)
                    == nil
            )
        }
        for start in [300, 0, 200, 100] {
            let window = readers.missed(
                start + 1...start + 1,
                next: start + 2,
                last: start + 99,
                limit: limit
            )
            #expect(window?.chunks == start + 2...start + 99)
        }
    }

    @Test func marksAreFoundByTheirChunk() {
        let marks = ReaderMarks()
        #expect(!marks.contains(0))
        marks.set([0, nil, 1 << 24, 7])
        for index in [0, 1 << 24, 7] { #expect(marks.contains(index)) }
        for index in [-1, 1, 8, Int.max, Int(UInt32.max)] { #expect(!marks.contains(index)) }
        marks.set([])
        #expect(!marks.contains(7))
    }
}
