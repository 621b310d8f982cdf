// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import ChunkCache

@Suite("Reading ahead on storage")
struct StorageReadAheadTests {
    private static let step = 128 << 10
    private static let mebibyte: UInt64 = 1 << 20

    /// What is read ahead of a reader that goes on from a place, a step after the other.
    private func ranges(
        _ readAhead: StorageReadAhead,
        from start: UInt64,
        steps: Int,
        waits: Bool = true
    ) -> [Range<UInt64>] {
        (0..<UInt64(steps)).compactMap { number in
            let offset = start + number * UInt64(Self.step)
            let range = readAhead.reading(at: offset, count: Self.step)
            if waits { readAhead.waiting(at: offset) }
            return range
        }
    }

    @Test func aSequentialReaderFindsWhatItNeedsNext() {
        let found = ranges(StorageReadAhead(), from: 0, steps: 256)
        // Without a gap, from the place where it turned out to be sequential.
        #expect(found.first?.lowerBound ?? 0 <= Self.mebibyte)
        for (one, next) in zip(found, found.dropFirst()) {
            #expect(next.lowerBound == one.upperBound)
        }
        // Always beyond the reader, and never farther than the window.
        let end = UInt64(256 * Self.step)
        #expect(found.last.map { $0.upperBound > end } == true)
        #expect(found.last.map { $0.upperBound <= end + 4 * Self.mebibyte } == true)
    }

    @Test func whatIsInMemoryIsNotReadAheadUntilItsReaderWaitsAgain() throws {
        let readAhead = StorageReadAhead()
        let found = try #require(ranges(readAhead, from: 0, steps: 64).last)
        readAhead.foundInMemory(found)
        let place = UInt64(64 * Self.step)
        #expect(ranges(readAhead, from: place, steps: 64, waits: false).isEmpty)
        #expect(!ranges(readAhead, from: 2 * place, steps: 64).isEmpty)
    }

    @Test func whoReadsAtRandomIsNotReadAheadFor() {
        let readAhead = StorageReadAhead()
        var place: UInt64 = 1
        for _ in 0..<1_000 {
            place = place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let offset = (place >> 20) % (1 << 40)
            #expect(readAhead.reading(at: offset, count: 4096) == nil)
            readAhead.waiting(at: offset)
        }
    }

    @Test func smallFilesHereAndThereAreNoSequentialReader() {
        let readAhead = StorageReadAhead()
        var place: UInt64 = 1
        var count = 0
        for _ in 0..<10_000 {
            place = place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let offset = (place >> 20) % (150 << 20) / 4096 * 4096
            if readAhead.reading(at: offset, count: 8192) != nil { count += 1 }
            readAhead.waiting(at: offset)
        }
        #expect(count == 0)
    }

    @Test func whatIsInMemoryIsNotReadAhead() {
        #expect(ranges(StorageReadAhead(), from: 0, steps: 256, waits: false).isEmpty)
    }

    @Test func twoReadersAreToldApart() {
        let readAhead = StorageReadAhead()
        var needed: [UInt64: UInt64] = [:]
        for number in 0..<UInt64(64) {
            for start in [0, 1 << 30] as [UInt64] {
                let offset = start + number * UInt64(Self.step)
                if let range = readAhead.reading(at: offset, count: Self.step) {
                    needed[start] = range.upperBound
                }
                readAhead.waiting(at: offset)
            }
        }
        let end = UInt64(64 * Self.step)
        #expect(needed[0, default: 0] >= end)
        #expect(needed[1 << 30, default: 0] >= 1 << 30 + end)
    }

    @Test func requestsOutOfOrderBelongToOneReader() {
        let readAhead = StorageReadAhead()
        var end: UInt64 = 0
        for number in 0..<UInt64(64) {
            let offset = (number ^ 1) * UInt64(Self.step)
            if let range = readAhead.reading(at: offset, count: Self.step) {
                end = range.upperBound
            }
            readAhead.waiting(at: offset)
        }
        #expect(end >= UInt64(64 * Self.step))
    }
}
