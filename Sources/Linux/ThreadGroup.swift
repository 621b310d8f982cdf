// SPDX-License-Identifier: Apache-2.0

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
            let thread = try WorkerThread(name: name) {
                body()
                running.update { $0 -= 1 }
            }
            thread.detach()
        } catch {
            running.update { $0 -= 1 }
            throw error
        }
    }

    /// Waits until no thread of the group runs its body any more.
    package func wait() {
        _ = running.wait { $0 == 0 ? true : nil }
    }
}
