// SPDX-License-Identifier: Apache-2.0

import Content
import Testing

@testable import ChunkCache

@Suite("Fetch table")
struct FetchTableTests {
    private typealias Table = FetchTable<String, String>

    private static func chunk(
        _ index: UInt32,
        blob: UInt32 = 1
    ) -> WantedChunk {
        WantedChunk(
            key: ChunkKey(blob: blob, index: index),
            offset: UInt64(index) * 100,
            size: 100
        )
    }

    private static func key(_ index: UInt32) -> ChunkKey { ChunkKey(blob: 1, index: index) }

    @Test func aReadIsReturnedWhenItsLastChunkIsFinished() {
        var table = Table(mergeLimit: 1000)
        #expect(table.begin("a", missing: [Self.chunk(1), Self.chunk(2)], priority: .demand) == 1)
        #expect(table.next()?.chunks.map(\.key.index) == [1, 2])
        #expect(table.finish(Self.key(2), .stored).isEmpty)
        let finished = table.finish(Self.key(1), .stored)
        #expect(finished.map(\.read) == ["a"])
        #expect(finished.first?.failure == nil)
        #expect(table.isEmpty)
    }

    @Test func readsOfOneChunkShareItsJob() {
        var table = Table(mergeLimit: 1000)
        #expect(table.begin("a", missing: [Self.chunk(1)], priority: .demand) == 1)
        #expect(table.begin("b", missing: [Self.chunk(1)], priority: .demand) == 0)
        #expect(table.next() != nil)
        #expect(table.begin("c", missing: [Self.chunk(1)], priority: .demand) == 0)
        #expect(table.next() == nil)
        #expect(table.finish(Self.key(1), .stored).map(\.read) == ["a", "b", "c"])
        #expect(table.isEmpty)
    }

    @Test func aFailureReachesEveryWaiterAndIsForgotten() {
        var table = Table(mergeLimit: 1000)
        _ = table.begin("a", missing: [Self.chunk(1), Self.chunk(2)], priority: .demand)
        _ = table.begin("b", missing: [Self.chunk(2)], priority: .demand)
        _ = table.next()
        let failed = table.finish(Self.key(1), .failed(.corrupt("bad")))
        #expect(failed.isEmpty)
        let finished = table.finish(Self.key(2), .stored)
        #expect(finished.map(\.read) == ["a", "b"])
        #expect(finished.map { $0.failure?.message } == ["bad", nil])
        #expect(table.begin("c", missing: [Self.chunk(1)], priority: .demand) == 1)
    }

    @Test func bytesThatCouldNotBeStoredAreHandedToTheWaiters() {
        var table = Table(mergeLimit: 1000)
        _ = table.begin("a", missing: [Self.chunk(1), Self.chunk(2)], priority: .demand)
        _ = table.finish(Self.key(1), .inMemory("one"))
        let finished = table.finish(Self.key(2), .stored)
        #expect(finished.first?.inMemory == [Self.key(1): "one"])
    }

    @Test func adjacentChunksAreMergedUpToTheLimit() {
        let chunks = [3, 1, 2, 7, 8].map { Self.chunk($0) } + [Self.chunk(9, blob: 2)]
        let ranges = Table.ranges(of: chunks, limit: 200).map { $0.map(\.key.index) }
        #expect(ranges == [[1, 2], [3], [7, 8], [9]])
        #expect(Table.ranges(of: [Self.chunk(1)], limit: 10).count == 1)
    }

    @Test func demandGoesFirstAndTakesQueuedJobsWithIt() {
        var table = Table(mergeLimit: 100)
        _ = table.begin("fill", missing: [Self.chunk(1), Self.chunk(5)], priority: .fill)
        _ = table.begin("trace", missing: [Self.chunk(9)], priority: .trace)
        #expect(table.begin("demand", missing: [Self.chunk(5)], priority: .demand) == 0)
        var order: [UInt32] = []
        while let job = table.next() { order += job.chunks.map(\.key.index) }
        #expect(order == [5, 9, 1])
    }

    /// Every set of chunks for each of three reads, and both orders of finishing: each read comes
    /// back exactly once.
    @Test func everyReadComesBackExactlyOnceInEveryOrder() {
        let sets: [[UInt32]] = [[1], [2], [1, 2]]
        for first in sets {
            for second in sets {
                for third in sets {
                    for order in [[1, 2], [2, 1]] as [[UInt32]] {
                        expectEachOnce([first, second, third], order)
                    }
                }
            }
        }
    }

    private func expectEachOnce(_ reads: [[UInt32]], _ order: [UInt32]) {
        var table = Table(mergeLimit: 1)
        var returned: [String] = []
        for (number, set) in reads.enumerated() {
            let missing = set.map { Self.chunk($0) }
            _ = table.begin("\(number)", missing: missing, priority: .demand)
            _ = table.next()
        }
        while table.next() != nil {}
        for index in order {
            returned += table.finish(Self.key(index), .stored).map(\.read)
            #expect(table.finish(Self.key(index), .stored).isEmpty)
        }
        #expect(returned.sorted() == ["0", "1", "2"])
        #expect(table.isEmpty)
    }
}
