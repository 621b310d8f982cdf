// SPDX-License-Identifier: Apache-2.0

import Content
import Testing

@testable import ChunkCache

@Suite("Recent failures") struct RecentFailuresTests {
    private let first = ChunkKey(blob: 1, index: 2)
    private let second = ChunkKey(blob: 1, index: 3)

    @Test func whatFailedJustNowFailsAgain() {
        var failures = RecentFailures()
        #expect(failures.error(of: [first], at: 0) == nil)
        failures.note(first, .corrupt("first"), at: 1_000)
        #expect(failures.error(of: [second, first], at: 1_001)?.message == "first")
        #expect(failures.error(of: [second], at: 1_001) == nil)
    }

    @Test func whatFailedAWhileAgoIsTriedAgain() {
        var failures = RecentFailures()
        failures.note(first, .corrupt("first"), at: 1_000)
        let end = 1_000 + RecentFailures.lifetime
        #expect(failures.error(of: [first], at: end - 1) != nil)
        #expect(failures.error(of: [first], at: end) == nil)
    }

    @Test func ofManyFailuresTheOldAreForgotten() {
        var failures = RecentFailures()
        for index in 0..<5_000 {
            failures.note(
                ChunkKey(blob: 1, index: UInt32(index)),
                .corrupt("\(index)"),
                at: UInt64(index) * 1_000_000
            )
        }
        let now: UInt64 = 5_000 * 1_000_000
        #expect(failures.error(of: [ChunkKey(blob: 1, index: 0)], at: now) == nil)
        let last = ChunkKey(blob: 1, index: 4_999)
        #expect(failures.error(of: [last], at: now)?.message == "4999")
    }
}
