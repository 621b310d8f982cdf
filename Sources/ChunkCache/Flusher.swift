// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// The thread that makes what was fetched durable: now and then, and after much has come.
final class Flusher: Sendable {
    private struct State {
        var isDue = false
        var isClosed = false
    }

    /// At the latest after this time: what a power cut may cost to fetch again.
    private static let interval = 30_000
    /// At the latest after this many bytes.
    ///
    /// As many and twice as many are in memory until they are dropped: more than are fetched ahead of
    /// a sequential reader, which would else be read back from storage, and few enough that the
    /// kernel uses the same pages again.
    private static let byteLimit = 64 << 20

    private let state = Monitor(State())
    private let pendingBytes: PendingBytes
    private let threads = ThreadGroup()

    /// A flusher whose thread is running.
    ///
    /// - Parameter flush: makes everything durable.
    /// - Throws: `SystemError` if there is no thread.
    init(_ flush: @escaping @Sendable () -> Void) throws(SystemError) {
        let pending = PendingBytes()
        pendingBytes = pending
        try threads.start(name: "flush") { [state] in
            var wasBusy = false
            while true {
                let isClosed = state.wait(milliseconds: Self.interval) { state -> Bool? in
                    guard state.isClosed || state.isDue else { return nil }
                    state.isDue = false
                    return state.isClosed
                }
                let isBusy = pending.count.exchange(0, ordering: .relaxed) > 0
                // Once more after the last bytes: that takes them out of memory.
                if isBusy || wasBusy { flush() }
                wasBusy = isBusy
                if isClosed == true { return }
            }
        }
    }

    /// Bytes that are not durable yet.
    private final class PendingBytes: Sendable {
        let count = Atomic(0)
    }

    /// Counts bytes that are not durable yet.
    func add(_ byteCount: Int) {
        let count = pendingBytes.count.wrappingAdd(byteCount, ordering: .relaxed).newValue
        // Only the addition that crosses the limit wakes the thread.
        if count >= Self.byteLimit, count - byteCount < Self.byteLimit {
            state.update { $0.isDue = true }
        }
    }

    /// Flushes once more and ends the thread.
    func close() {
        state.update { $0.isClosed = true }
        threads.wait()
    }
}
