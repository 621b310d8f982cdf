// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Threads with bodies of their own, waited for together, even by one that failed to start all.
package final class ThreadGroup: Sendable {
    private let running = Monitor(0)

    /// A group without threads.
    package init() {}

    /// Starts a thread of the group.
    ///
    /// - Parameters:
    ///   - name: at most 15 bytes, as `top -H` shows it.
    ///   - body: what the thread runs.
    /// - Throws: `SystemError` if the system has no thread to give.
    package func start(
        name: String,
        _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        running.update { $0 += 1 }
        do {
            let running = running
            let work = ThreadWork(body)
            let thread = try WorkerThread(name: name) {
                work.run()
                running.update { $0 -= 1 }
            }
            thread.detach()
        } catch {
            running.update { $0 -= 1 }
            throw error
        }
    }

    /// Waits until no thread of the group runs its body any more, nor holds what the body used.
    package func wait() {
        _ = running.wait { $0 == 0 ? true : nil }
    }
}

/// A thread's body, let go before the thread says that it has run.
///
/// Whoever waits may end the process at once: what the body alone still held would never be
/// released, and what it left on storage not be cleared away.
private final class ThreadWork: Sendable {
    private let body: Mutex<(@Sendable () -> Void)?>

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = Mutex(body)
    }

    func run() {
        let body = self.body.withLock { body in
            defer { body = nil }
            return body
        }
        body?()
    }
}
