// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization
import Testing

@Suite("Monitor")
struct MonitorTests {
    @Test func wakesEveryWaiter() {
        let gate = Monitor(0)
        let woken = Atomic<Int>(0)
        let threads = ThreadGroup()
        for number in 1...4 {
            try? threads.start(name: "waiter") {
                _ = gate.wait { $0 >= number ? true : nil }
                woken.add(1, ordering: .relaxed)
            }
        }
        for number in 1...4 { gate.update { $0 = number } }
        threads.wait()
        #expect(woken.load(ordering: .relaxed) == 4)
    }

    @Test func whatAWaiterChangesWakesTheOthers() {
        // A baton passed around: each waits for its number and gives the next one the word.
        let turn = Monitor(0)
        let threads = ThreadGroup()
        for number in (0..<8).reversed() {
            try? threads.start(name: "turn") {
                turn.wait { (turn: inout Int) -> Void? in
                    guard turn == number else { return nil }
                    turn += 1
                    return ()
                }
            }
        }
        threads.wait()
        #expect(turn.update { $0 } == 8)
    }

    @Test func updatesExcludeEachOther() {
        let sum = Monitor(0)
        let threads = ThreadGroup()
        for _ in 0..<4 {
            try? threads.start(name: "sum") {
                for _ in 0..<1000 { sum.update { $0 += 1 } }
            }
        }
        threads.wait()
        #expect(sum.update { $0 } == 4000)
    }

    @Test func errorsLeaveTheLockOpen() {
        let monitor = Monitor(1)
        #expect(throws: SystemError.self) {
            try monitor.update { (state: inout Int) throws(SystemError) in
                state = 2
                throw SystemError("call", "object", code: 5)
            }
        }
        #expect(monitor.update { $0 } == 2)
    }

    @Test func waitingEndsWhenTheTimeIsOver() {
        let monitor = Monitor(false)
        let result = monitor.wait(milliseconds: 20) { (state: inout Bool) -> Bool? in
            state ? true : nil
        }
        #expect(result == nil)
        monitor.update { $0 = true }
        #expect(monitor.wait(milliseconds: 0) { $0 ? true : nil } == true)
        #expect(monitor.wait(milliseconds: 60_000) { $0 ? true : nil } == true)
    }

    @Test func aThreadIsJoinedAfterItsBody() throws {
        let done = Mutex(false)
        let thread = try WorkerThread(name: "a name longer than fifteen bytes") {
            done.withLock { $0 = true }
        }
        thread.join()
        #expect(done.withLock { $0 })
    }

    @Test func aGroupWithoutThreadsIsOverAtOnce() {
        ThreadGroup().wait()
    }
}
