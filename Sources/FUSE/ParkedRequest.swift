// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// A request that waits for its data, and holds no thread and no buffer.
///
/// While it waits, the kernel may say that the caller was interrupted: the request is then answered
/// at once with EINTR, and `take` finds nothing. What it waited for goes on, and is kept.
///
/// Dropped without having been taken, the request answers EIO by itself.
package final class ParkedRequest: Sendable {
    /// Its number among the session's parked requests; not 0.
    let number: UInt64
    private let session: FuseSession
    private let state = Monitor(State())

    private struct State: ~Copyable {
        /// nil before `admit`, and again once somebody has it to answer it.
        var request: FuseRequest?
        var isInterrupted = false
    }

    init(_ session: FuseSession) {
        self.session = session
        number = session.parked.makeNumber()
        session.parked.add(self)
    }

    deinit {
        session.parked.remove(number)
    }

    /// Takes the request in, unless its caller has been interrupted since it was announced.
    ///
    /// - Returns: nil if it was taken in, else the request.
    func admit(_ request: consuming FuseRequest) -> FuseRequest? {
        var request: FuseRequest? = consume request
        state.update { state in
            if !state.isInterrupted { state.request = request.take() }
        }
        return request
    }

    /// The request, to be answered now; nil if it has been answered because of an interrupt.
    package func take() -> FuseRequest? {
        state.update { $0.request.take() }
    }

    /// Answers EINTR; one that is still to be taken in will be refused.
    fileprivate func interrupt() {
        let request = state.update { state in
            state.isInterrupted = true
            return state.request.take()
        }
        request?.reply(.interrupted)
    }
}

/// The parked requests of a session, by number.
final class ParkedRequests: Sendable {
    private struct Reference {
        // Weak: whoever waits for the data owns the parked request.
        weak var request: ParkedRequest?
    }

    private let last = Atomic<UInt64>(0)
    private let references = Monitor<[UInt64: Reference]>([:])

    func makeNumber() -> UInt64 {
        last.wrappingAdd(1, ordering: .relaxed).newValue
    }

    func add(_ request: ParkedRequest) {
        references.update { $0[request.number] = Reference(request: request) }
    }

    func remove(_ number: UInt64) {
        references.update { _ = $0.removeValue(forKey: number) }
    }

    /// Interrupts the request of that number, if it is still waiting.
    func interrupt(_ number: UInt64) {
        let request = references.update { $0[number]?.request }
        request?.interrupt()
    }
}
