// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// What a call carries beside its message.
///
/// A call that takes long asks `checkIsWanted` now and then, where giving up leaves nothing half
/// done.
package final class CallContext: Sendable {
    /// The namespace in containerd that the caller names, nil for none.
    ///
    /// Never needed: containerd 1.6 names none, and the keys that containerd sends begin with it.
    package let namespace: String?
    /// When the caller stops waiting, in `CurrentProcess.monotonicNanoseconds`; nil for never.
    package let deadline: UInt64?

    private let cancelled = Atomic(false)
    private let beforeBlocking = Mutex<(@Sendable () -> Void)?>(nil)
    private let blocks = Atomic(false)

    /// The context of a call that nobody has cancelled.
    package init(namespace: String? = nil, deadline: UInt64? = nil) {
        self.namespace = namespace
        self.deadline = deadline
    }

    /// Says what is to be done before the call blocks.
    func beforeBlocking(_ body: @escaping @Sendable () -> Void) {
        beforeBlocking.withLock { $0 = body }
    }

    /// To be called before a call does something that may take long (`SnapshotService`), so that
    /// others are served meanwhile; nothing happens the second time.
    package func willBlock() {
        blocks.store(true, ordering: .relaxed)
        let body = beforeBlocking.withLock { body in
            defer { body = nil }
            return body
        }
        body?()
    }

    /// Whether `willBlock` was called.
    var hasBlocked: Bool { blocks.load(ordering: .relaxed) }

    /// Notes that the caller does not wait any more.
    package func cancel() {
        cancelled.store(true, ordering: .relaxed)
    }

    /// Whether nobody waits for the answer: cancelled, or after the deadline.
    package var isCancelled: Bool { cancelled.load(ordering: .relaxed) || isLate }

    /// Throws if nobody waits for the answer.
    ///
    /// - Throws: `deadlineExceeded` or `cancelled`.
    package func checkIsWanted() throws(RPCStatus) {
        if isLate { throw RPCStatus(.deadlineExceeded, "the deadline has passed") }
        if isCancelled { throw RPCStatus(.cancelled, "the caller has cancelled") }
    }

    private var isLate: Bool {
        deadline.map { CurrentProcess.monotonicNanoseconds >= $0 } ?? false
    }
}
