// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// The threads that calls run on, so that a call that blocks never holds one that polls.
///
/// Threads are started as calls come, and leave when there is nothing to do; a few stay.
final class CallWorkers: Sendable {
    typealias Job = @Sendable () -> Void

    private struct State {
        var queue: [Job] = []
        /// Threads that exist.
        var total = 0
        /// Those of them that run no job.
        var idle = 0
        var isClosed = false
    }

    /// Why a job is not taken.
    enum Refusal: Error {
        /// Too many wait already, or the system has no thread.
        case busy
        /// The service stops.
        case closed
    }

    private let most: Int
    private let kept: Int
    private let queueLimit: Int
    private let state = Mutex(State())
    /// Counts the jobs of the queue, and in the end the threads that are to leave.
    private let work = Semaphore()
    private let alive = Monitor(0)

    /// - Parameters:
    ///   - most: the most threads at once.
    ///   - kept: threads that stay while there is nothing to do.
    ///   - queueLimit: jobs that may wait for a thread.
    init(most: Int, kept: Int, queueLimit: Int) {
        self.most = most
        self.kept = kept
        self.queueLimit = queueLimit
    }

    /// Has a thread run the job.
    func submit(_ job: @escaping Job) throws(Refusal) {
        enum Action {
            case none
            case start
            case refuse(Refusal)
        }
        let action: Action = state.withLock { state in
            guard !state.isClosed else { return .refuse(.closed) }
            guard state.queue.count < queueLimit else { return .refuse(.busy) }
            state.queue.append(job)
            guard state.queue.count > state.idle, state.total < most else { return .none }
            state.total += 1
            state.idle += 1
            return .start
        }
        switch action {
        case .refuse(let refusal): throw refusal
        case .none: break
        case .start: try startThread()
        }
        work.signal()
    }

    private func startThread() throws(Refusal) {
        alive.update { $0 += 1 }
        do {
            try WorkerThread(name: "call") { [self] in
                run()
                alive.update { $0 -= 1 }
            }.detach()
        } catch {
            alive.update { $0 -= 1 }
            let isLost = state.withLock { state in
                state.total -= 1
                state.idle -= 1
                // Another thread comes to the job, later; without one nobody would.
                guard state.total == 0 else { return false }
                _ = state.queue.popLast()
                return true
            }
            if isLost { throw .busy }
        }
    }

    private func run() {
        while true {
            work.wait()
            let job: Job? = state.withLock { state in
                guard !state.queue.isEmpty else { return nil }
                state.idle -= 1
                return state.queue.removeFirst()
            }
            // Nothing to do although there was a signal: the end.
            guard let job else { return }
            job()
            let stays = state.withLock { state in
                if state.queue.isEmpty, state.idle >= kept {
                    state.total -= 1
                    return false
                }
                state.idle += 1
                return true
            }
            guard stays else { return }
        }
    }

    /// Takes no more jobs, and waits for those taken.
    ///
    /// - Parameter milliseconds: how long to wait at most.
    /// - Returns: whether all have ended.
    func close(milliseconds: Int) -> Bool {
        let threads = state.withLock { state in
            state.isClosed = true
            return state.total
        }
        for _ in 0..<threads { work.signal() }
        return alive.wait(milliseconds: milliseconds) { $0 == 0 ? true : nil } ?? false
    }
}
