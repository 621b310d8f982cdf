// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import Synchronization
import Testing

@testable import Containerd

/// What happens on the sockets of a server that has none.
private final class Events: Sendable {
    private struct State {
        var events: [@Sendable () -> Void] = []
        var isOver = false
    }

    private let state = Monitor(State())

    func add(_ event: @escaping @Sendable () -> Void) {
        state.update { $0.events.append(event) }
    }

    func end() {
        state.update { $0.isOver = true }
    }

    /// Runs the next event; false when there will be none.
    func next() -> Bool {
        let event: (@Sendable () -> Void)? = state.wait { state in
            if !state.events.isEmpty { return .some(.some(state.events.removeFirst())) }
            return state.isOver ? .some(nil) : nil
        }
        event?()
        return event != nil
    }
}

/// A door that calls wait at.
private final class Gate: Sendable {
    private let isOpen = Monitor(false)

    func open() { isOpen.update { $0 = true } }
    func wait() { _ = isOpen.wait { $0 ? true : nil } }
}

@Suite("Threads of calls")
struct CallThreadsTests {
    private let events = Events()

    private func threads(most: Int, queueLimit: Int = 100) throws -> CallThreads {
        let events = events
        return try CallThreads(most: most, kept: 1, queueLimit: queueLimit) { events.next() }
    }

    private func end(_ threads: CallThreads) {
        #expect(threads.close(milliseconds: 60_000))
        events.end()
        threads.wait()
    }

    @Test func aShortCallRunsOnTheThreadThatLeads() throws {
        let threads = try threads(most: 4)
        let numbers = Monitor<[pthread_t]>([])
        for _ in 0..<3 {
            events.add {
                let leader = pthread_self()
                try? threads.run(isShort: true) {
                    let isSame = pthread_equal(leader, pthread_self()) != 0
                    numbers.update { $0.append(isSame ? 0 : 1) }
                }
            }
        }
        let found = numbers.wait { $0.count == 3 ? $0 : nil }
        #expect(found == [0, 0, 0])
        end(threads)
    }

    @Test func othersAreServedWhileALongCallRuns() throws {
        let threads = try threads(most: 4)
        let (gate, done) = (Gate(), Monitor(0))
        events.add {
            try? threads.run(isShort: false) {
                gate.wait()
                done.update { $0 += 1 }
            }
        }
        // It would never run if the first one held the only thread that leads.
        events.add { try? threads.run(isShort: true) { gate.open() } }
        #expect(done.wait { $0 == 1 ? true : nil })
        end(threads)
    }

    @Test func aShortCallThatTurnsOutLongPassesTheLead() throws {
        let threads = try threads(most: 4)
        let (gate, done) = (Gate(), Monitor(0))
        events.add {
            try? threads.run(isShort: true) {
                #expect(threads.passLead())
                gate.wait()
                done.update { $0 += 1 }
            }
        }
        events.add { try? threads.run(isShort: true) { gate.open() } }
        #expect(done.wait { $0 == 1 ? true : nil })
        end(threads)
    }

    @Test func withoutAThreadCallsWaitAndAreRefusedBeyondTheLimit() throws {
        let threads = try threads(most: 3, queueLimit: 5)
        let (gate, ran, refused) = (Gate(), Monitor(0), Monitor(0))
        for _ in 0..<10 {
            events.add {
                do throws(CallThreads.Refusal) {
                    try threads.run(isShort: false) {
                        gate.wait()
                        ran.update { $0 += 1 }
                    }
                } catch {
                    refused.update { $0 += error == .busy ? 1 : 100 }
                }
            }
        }
        // Two run, the third thread leads, five are queued.
        #expect(refused.wait { $0 >= 3 ? $0 : nil } == 3)
        gate.open()
        #expect(ran.wait { $0 == 7 ? true : nil })
        end(threads)
    }

    @Test func afterTheEndCallsAreRefused() throws {
        let threads = try threads(most: 2)
        let gate = Gate()
        events.add { try? threads.run(isShort: false) { gate.wait() } }
        let refused = Monitor(false)
        let begun = Monitor(false)
        events.add { begun.update { $0 = true } }
        _ = begun.wait { $0 ? true : nil }
        #expect(!threads.close(milliseconds: 10))
        events.add {
            do throws(CallThreads.Refusal) {
                try threads.run(isShort: true) {}
            } catch {
                refused.update { $0 = error == .closed }
            }
        }
        #expect(refused.wait { $0 ? true : nil })
        gate.open()
        end(threads)
    }
}
