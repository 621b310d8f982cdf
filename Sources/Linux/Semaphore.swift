// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

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
