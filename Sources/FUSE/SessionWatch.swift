// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// Who looks for a session's next request: workers that are at it, or else the epoll set.
///
/// A worker that answers from memory comes back for the next request by itself, so nobody else is
/// woken for it: waking a thread for each request took half of the time of small reads.
///
/// 1. A session is watched by at least one worker, or it is armed in the epoll set.
/// 2. The last worker that stops watching arms it, after its last look: what came since is
///    reported at once. Until then a request that one worker has not seen, another will look for.
/// 3. Whoever is going to wait stops watching before.
package final class SessionWatch: Sendable {
    private let watchers = Atomic(0)
    /// Whether it may be armed.
    private let isArmed = Atomic(true)
    /// Where the session is armed.
    ///
    /// No closure: each time one is taken out of a generic type such as `Monitor`, the compiler
    /// wraps it once more, and a thousand times later it is slow.
    private struct Place {
        weak var workers: FuseWorkers?
        var descriptor: Int32 = -1
        var token: UInt64 = 0
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
        isArmed.store(true, ordering: .releasing)
        let place = place.update { $0 }
        place.workers?.rearm(place.descriptor, token: place.token)
    }

    /// The calling worker is going to look for requests soon, and again until `leave`.
    package func join() {
        watchers.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// The session was reported to the calling worker, which joins.
    func joinReported() {
        isArmed.store(false, ordering: .releasing)
        join()
    }

    /// The calling worker has waited, and joins again.
    ///
    /// Nobody else is woken for the next request, which with a single reader comes when this worker
    /// has answered. A session that somebody arms at the same time stays armed, or has this worker
    /// for its watcher.
    package func rejoin() {
        join()
        guard isArmed.exchange(false, ordering: .acquiringAndReleasing) else { return }
        let place = place.update { $0 }
        place.workers?.disarm(place.descriptor, token: place.token)
    }

    /// The calling worker does not look any more: its turn is over, or it waits.
    package func leave() {
        let left = watchers.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if left == 0 { arm() }
    }

    /// Has one more worker look, if there is a request.
    ///
    /// - Parameter limit: not if so many are looking.
    func callHelp(limit: Int) {
        if watchers.load(ordering: .relaxed) < limit { arm() }
    }
}
