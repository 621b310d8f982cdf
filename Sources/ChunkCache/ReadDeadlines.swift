// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// When reads are given up, and the clock of the thread that does it; to the second.
final class ReadDeadlines: Sendable {
    private let nanoseconds: UInt64?
    private let work = Semaphore()
    private let end = Semaphore()
    private let isClosed = Atomic(false)

    private static let tickMilliseconds = 1_000

    /// - Parameter milliseconds: how long a read may wait; nil for ever.
    init(_ milliseconds: UInt64?) {
        nanoseconds = milliseconds.map { $0.multipliedReportingOverflow(by: 1_000_000) }
            .map { $0.overflow ? .max : $0.partialValue }
    }

    /// When a read that begins now is given up, on the monotonic clock; `UInt64.max` for never.
    func next() -> UInt64 {
        guard let nanoseconds else { return .max }
        let (time, overflow) = CurrentProcess.monotonicNanoseconds
            .addingReportingOverflow(nanoseconds)
        return overflow ? .max : time
    }

    /// A read waits, and nobody looks at the time.
    func wake() { work.signal() }

    /// Waits until reads wait.
    ///
    /// - Returns: false at the end.
    func waitForWork() -> Bool {
        work.wait()
        return !isClosed.load(ordering: .acquiring)
    }

    /// Waits for the next look at the time.
    ///
    /// - Returns: false at the end.
    func tick() -> Bool {
        !end.wait(milliseconds: Self.tickMilliseconds)
    }

    /// Ends the thread.
    func close() {
        isClosed.store(true, ordering: .releasing)
        end.signal()
        work.signal()
    }
}
