// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A thread of the process, joined once.
package struct WorkerThread: ~Copyable {
    private let handle: pthread_t

    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }

    /// Starts a thread.
    ///
    /// - Parameters:
    ///   - name: at most 15 bytes, as `top -H` shows it.
    ///   - body: what the thread runs; the thread ends with it.
    /// - Throws: `SystemError` if the system has no thread to give.
    package init(
        name: String,
        _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        var handle = pthread_t()
        // One retain here, one release in the thread's first line.
        let box = unsafe Unmanaged.passRetained(Body(body))
        let code = unsafe pthread_create(
            &handle,
            nil,
            { context in
                guard let context = unsafe context else { return nil }
                let body = unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
                body.run()
                return nil
            },
            box.toOpaque()
        )
        guard code == 0 else {
            unsafe box.release()
            throw SystemError("pthread_create", name, code: code)
        }
        _ = unsafe clinux_set_thread_name(handle, String(name.prefix(15)))
        self.handle = handle
    }

    /// Waits until the thread's body has returned.
    package consuming func join() {
        _ = pthread_join(handle, nil)
    }

    /// Lets the thread go: it ends by itself, and nobody waits for it.
    package consuming func detach() {
        _ = pthread_detach(handle)
    }
}

/// State behind a lock, with a condition to wait on.
///
/// `Mutex` of Synchronization has no condition variable; where threads wait for each other, the
/// state lives in a monitor. So it does where the thread sanitizer looks: it does not see that a
/// `Mutex`, which is a bare futex, keeps threads apart.
@safe
package final class Monitor<State: ~Copyable>: @unchecked Sendable {
    // @unchecked: `state` is touched only with `mutex` held.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var state: State

    /// A monitor around the state.
    package init(_ state: consuming sending State) {
        unsafe mutex = .allocate(capacity: 1)
        unsafe condition = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        // Waiting with a time limit must not depend on the wall clock, which people set.
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(condition, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
        self.state = state
    }

    deinit {
        unsafe pthread_cond_destroy(condition)
        unsafe pthread_mutex_destroy(mutex)
        unsafe condition.deallocate()
        unsafe mutex.deallocate()
    }

    /// Runs the body with the lock held, then wakes every waiter.
    ///
    /// - Parameter body: reads and changes the state; it must not call back into the monitor.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    package func update<T: ~Copyable, Failure: Error>(
        _ body: (inout State) throws(Failure) -> sending T
    ) throws(Failure) -> sending T {
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_mutex_unlock(mutex)
            unsafe pthread_cond_broadcast(condition)
        }
        return try body(&state)
    }

    /// Runs the body with the lock held and wakes nobody: for changes that no waiter waits for.
    ///
    /// - Parameter body: as in `update`.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    package func updateQuietly<T: ~Copyable, Failure: Error>(
        _ body: (inout State) throws(Failure) -> sending T
    ) throws(Failure) -> sending T {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try body(&state)
    }

    /// Waits until the body gives a value.
    ///
    /// The body runs with the lock held: at once, then after every `update`. What it changes wakes
    /// the other waiters.
    ///
    /// - Parameter body: gives the value, or nil to go on waiting.
    /// - Returns: the value.
    package func wait<T>(for body: (inout State) -> sending T?) -> sending T {
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_mutex_unlock(mutex)
            unsafe pthread_cond_broadcast(condition)
        }
        while true {
            if let value = body(&state) { return value }
            unsafe pthread_cond_wait(condition, mutex)
        }
    }

    /// Waits until the body gives a value or the time is over.
    ///
    /// - Parameters:
    ///   - milliseconds: how long to wait at most.
    ///   - body: as in `wait(for:)`.
    /// - Returns: the value; nil when the time is over.
    package func wait<T>(
        milliseconds: Int,
        for body: (inout State) -> sending T?
    ) -> sending T? {
        var deadline = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &deadline)
        let nanoseconds = deadline.tv_nsec + milliseconds % 1000 * 1_000_000
        deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_mutex_unlock(mutex)
            unsafe pthread_cond_broadcast(condition)
        }
        while true {
            if let value = body(&state) { return value }
            if unsafe pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT {
                return body(&state)
            }
        }
    }
}
