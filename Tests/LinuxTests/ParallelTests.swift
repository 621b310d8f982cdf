// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization
import Testing

@Suite("Work in parallel")
struct ParallelTests {
    private struct Failure: Error, Equatable {
        var index: Int
    }

    @Test(arguments: [1, 2, 3, 16, 200])
    func resultsComeInOrder(_ threads: Int) throws {
        for count in [0, 1, 2, 7, 100] {
            let results = try inParallel(count, threads: threads, name: "test") { $0 * $0 }
            #expect(results == (0..<count).map { $0 * $0 })
        }
    }

    @Test func everyIndexIsDoneOnce() throws {
        let done = Mutex<[Int]>([])
        _ = try inParallel(500, threads: 4, name: "test") { index in
            done.withLock { $0.append(index) }
        }
        #expect(done.withLock { $0.sorted() } == Array(0..<500))
    }

    @Test func noMoreThreadsThanAskedForWork() throws {
        let running = Mutex((now: 0, most: 0))
        _ = try inParallel(50, threads: 3, name: "test") { _ in
            running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            // Long enough that others would begin in between.
            for _ in 0..<1000 { _ = running.withLock { $0.now } }
            running.withLock { $0.now -= 1 }
        }
        #expect((1...3).contains(running.withLock { $0.most }))
    }

    @Test(arguments: [1, 2, 8])
    func theLowestFailureIsTold(_ threads: Int) {
        for _ in 0..<50 {
            let error = #expect(throws: Failure.self) {
                try inParallel(40, threads: threads, name: "test") { index in
                    if index % 7 == 5 { throw Failure(index: index) }
                    return index
                }
            }
            #expect(error == Failure(index: 5))
        }
    }

    @Test func nothingIsBegunAfterAFailure() {
        let begun = Mutex<[Int]>([])
        #expect(throws: Failure.self) {
            try inParallel(1000, threads: 1, name: "test") { index in
                begun.withLock { $0.append(index) }
                if index == 3 { throw Failure(index: index) }
            }
        }
        #expect(begun.withLock { $0 } == [0, 1, 2, 3])
    }
}
