// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// Who looks for a session's next request: workers that are at it, or else the epoll set.
///
/// A worker that answers from memory comes back for the next request by itself, so nobody else is
/// woken for it: waking a thread for each request took half of the time of small reads.
///
/// 1. A session is watched by at least one worker, or it is armed in the epoll set, or it has been
///    reported to a worker that is about to look.
/// 2. The last worker that stops watching arms it, after its last look: what came since is
///    reported at once. Until then a request that one worker has not seen, another will look for.
/// 3. Whoever is going to wait stops watching before.
package final class SessionWatch: Sendable {
    private let watchers = Atomic(0)
    /// How many workers wait for storage.
    private let waiting = Atomic(0)
    /// Whether a worker has waited since the last look.
    private let hasWaited = Atomic(false)

    /// Where the session is armed.
    ///
    /// No closure: each time one is taken out of a generic type such as `Monitor`, the compiler
    /// wraps it once more, and a thousand times later it is slow.
    private struct Place {
        weak var workers: FuseWorkers?
        var descriptor: Int32 = -1
        var token: UInt64 = 0
        /// Whether it is armed.
        ///
        /// Changed together with the set, so that nobody believes it armed
        /// while somebody else is disarming it: its requests would wait for ever. A report disarms
        /// the set first, and is known here when the worker that got it begins to look.
        var isArmed = true
    }

    private let place = Monitor(Place())

    /// Says where the session is armed; before it is for the first time.
    func attach(to workers: FuseWorkers, descriptor: Int32, token: UInt64) {
        place.update {
            $0 = Place(workers: workers, descriptor: descriptor, token: token)
        }
    }

    /// Has the session reported to one worker, at once if a request is there.
    private func arm() {
        place.update { place in
            guard !place.isArmed else { return }
            place.isArmed = true
            place.workers?.rearm(place.descriptor, token: place.token)
        }
    }

    /// The calling worker is going to look for requests soon, and again until `leave`.
    func join() {
        watchers.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// The session was reported to the calling worker, which joins.
    func joinReported() {
        place.update { $0.isArmed = false }
        join()
    }

    /// The calling worker does not look any more: its turn is over.
    func leave() {
        let left = watchers.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if left == 0 { arm() }
    }

    /// The calling worker is going to wait for storage, or for a lock: it leaves until `endWait`.
    package func beginWait() {
        waiting.wrappingAdd(1, ordering: .relaxed)
        leave()
    }

    /// The calling worker has waited, and joins again.
    ///
    /// If no other one waits there may be a single reader, whose next request comes when this
    /// worker has answered: nobody else is woken for it.
    package func endWait() {
        join()
        hasWaited.store(true, ordering: .relaxed)
        let others = waiting.wrappingSubtract(1, ordering: .relaxed).newValue
        guard others == 0 else { return }
        place.update { place in
            guard place.isArmed else { return }
            place.isArmed = false
            place.workers?.disarm(place.descriptor, token: place.token)
        }
    }

    /// Whether a worker has waited since the last call.
    func takeWait() -> Bool {
        hasWaited.load(ordering: .relaxed) && hasWaited.exchange(false, ordering: .relaxed)
    }

    /// Has one more worker look, if there is a request.
    ///
    /// - Parameter limit: not if so many are looking.
    func callHelp(limit: Int) {
        if watchers.load(ordering: .relaxed) < limit { arm() }
    }
}
