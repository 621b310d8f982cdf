// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Threads that are waited for together.
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

/// A number of things to be done: who takes one waits while there is none (sem_overview(7)).
///
/// Unlike a `Monitor`, it wakes one thread for one thing.
@safe
package final class Semaphore: @unchecked Sendable {
    // @unchecked: a semaphore is made for threads.
    private let handle: UnsafeMutablePointer<sem_t>

    /// A semaphore with nothing to be done.
    package init() {
        unsafe handle = .allocate(capacity: 1)
        unsafe sem_init(handle, 0, 0)
    }

    deinit {
        unsafe sem_destroy(handle)
        unsafe handle.deallocate()
    }

    /// Adds one thing, and wakes one thread for it.
    package func signal() {
        unsafe sem_post(handle)
    }

    /// Takes one thing, and waits for it.
    package func wait() {
        while unsafe sem_wait(handle) == -1, errno == EINTR {}
    }

    /// Takes one thing if there is one within the time.
    ///
    /// - Parameter milliseconds: how long to wait at most. Measured with the wall clock: when
    ///   that is set, the wait may be shorter or longer.
    /// - Returns: whether one was taken.
    package func wait(milliseconds: Int) -> Bool {
        var deadline = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = deadline.tv_nsec + milliseconds % 1000 * 1_000_000
        deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        while unsafe sem_timedwait(handle, &deadline) == -1 {
            if errno != EINTR { return false }
        }
        return true
    }
}
