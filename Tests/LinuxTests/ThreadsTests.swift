// SPDX-License-Identifier: Apache-2.0

import Linux
import Testing

@Suite("Threads", .timeLimit(.minutes(5)))
struct ThreadsTests {
    @Test func aMonitorGivesUpWhenTheTimeIsOver() {
        let monitor = Monitor(0)
        #expect(monitor.wait(milliseconds: 20) { $0 == 1 ? true : nil } == nil)
        monitor.update { $0 = 1 }
        #expect(monitor.wait(milliseconds: 20) { $0 == 1 ? true : nil } == true)
    }

    @Test func aSemaphoreWakesOneThreadForOneThing() throws {
        let semaphore = Semaphore()
        let taken = Monitor(0)
        let threads = ThreadGroup()
        for _ in 0..<4 {
            try threads.start(name: "taker") {
                semaphore.wait()
                taken.update { $0 += 1 }
            }
        }
        #expect(!semaphore.wait(milliseconds: 10))
        for expected in 1...4 {
            semaphore.signal()
            _ = taken.wait { $0 >= expected ? true : nil }
        }
        threads.wait()
        #expect(taken.update { $0 } == 4)
    }

    @Test func aGroupThatWasWaitedForHoldsNothing() throws {
        final class Held: Sendable {}
        for _ in 0..<300 {
            let threads = ThreadGroup()
            weak let held: Held?
            do {
                let object = Held()
                held = object
                for _ in 0..<2 {
                    try threads.start(name: "holder") { withExtendedLifetime(object) {} }
                }
            }
            threads.wait()
            #expect(held == nil)
        }
    }
}
