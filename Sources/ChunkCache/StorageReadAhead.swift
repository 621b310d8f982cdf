// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a file of the cache is read ahead of its sequential readers: decisions only.
///
/// Without locks: threads that overwrite each other's notes make it read too little or too much
/// ahead, which is a matter of time, never of bytes.
final class StorageReadAhead: Sendable {
    /// One reader.
    private struct Stream: ~Copyable {
        /// The end of its furthest read; 0 for nobody.
        let next = Atomic<UInt64>(0)
        /// How many bytes it has read in a row.
        let length = Atomic<UInt64>(0)
        /// Whether it has ever waited for storage: what is in memory need not be read ahead.
        let hasWaited = Atomic(false)
        /// The end of what was read ahead of it; 0 for nothing.
        let end = Atomic<UInt64>(0)
    }

    /// The requests of one reader are served by several threads, not quite in order.
    private static let tolerance: UInt64 = 512 << 10
    /// Who has read less in a row is no sequential reader.
    private static let least: UInt64 = 512 << 10
    /// The furthest that is read ahead, in bytes.
    static let window: UInt64 = 4 << 20

    private let first = Stream()
    private let second = Stream()
    /// Counts new readers; its last bit tells whose place they take.
    private let turn = Atomic<UInt64>(0)

    /// A read begins.
    ///
    /// - Parameters:
    ///   - offset: where, in bytes.
    ///   - count: how many bytes.
    /// - Returns: what is to be read ahead now, in bytes of the file; nil for nothing.
    func reading(at offset: UInt64, count: Int) -> Range<UInt64>? {
        let end = offset &+ UInt64(count)
        if Self.isNext(first, offset) { return Self.advance(first, to: end, count) }
        if Self.isNext(second, offset) { return Self.advance(second, to: end, count) }
        let isFirst = turn.wrappingAdd(1, ordering: .relaxed).newValue & 1 == 0
        if isFirst { Self.begin(first, at: end) } else { Self.begin(second, at: end) }
        return nil
    }

    /// A read that began there waits for storage.
    func waiting(at offset: UInt64) {
        if Self.isNext(first, offset) { return first.hasWaited.store(true, ordering: .relaxed) }
        if Self.isNext(second, offset) { second.hasWaited.store(true, ordering: .relaxed) }
    }

    /// What was to be read ahead is in memory: nothing more is, until its reader waits again.
    func foundInMemory(_ range: Range<UInt64>) {
        Self.rest(first, range)
        Self.rest(second, range)
    }

    private static func rest(_ stream: borrowing Stream, _ range: Range<UInt64>) {
        let end = stream.end.load(ordering: .relaxed)
        guard range.contains(stream.next.load(ordering: .relaxed)) || range.contains(end &- 1)
        else { return }
        stream.hasWaited.store(false, ordering: .relaxed)
    }

    private static func isNext(_ stream: borrowing Stream, _ offset: UInt64) -> Bool {
        let next = stream.next.load(ordering: .relaxed)
        return next != 0 && offset &+ tolerance >= next && offset <= next &+ tolerance
    }

    /// A reader goes on.
    private static func advance(
        _ stream: borrowing Stream,
        to position: UInt64,
        _ count: Int
    ) -> Range<UInt64>? {
        let last = stream.next.load(ordering: .relaxed)
        if position > last { stream.next.store(position, ordering: .relaxed) }
        let next = max(position, last)
        // What was read, not how far: readers of small files jump about.
        let length = stream.length.wrappingAdd(UInt64(count), ordering: .relaxed).newValue
        guard stream.hasWaited.load(ordering: .relaxed), length >= least else { return nil }
        let end = stream.end.load(ordering: .relaxed)
        let distance = min(length, window)
        // By halves: each time something worth a request.
        guard end < next &+ distance / 2 else { return nil }
        // Of several threads, one has it read.
        guard
            stream.end.compareExchange(
                expected: end,
                desired: next &+ distance,
                ordering: .relaxed
            ).exchanged
        else { return nil }
        return max(end, next)..<next + distance
    }

    /// A new reader takes the place of one that has not been seen for longer.
    private static func begin(_ stream: borrowing Stream, at position: UInt64) {
        stream.end.store(0, ordering: .relaxed)
        stream.hasWaited.store(false, ordering: .relaxed)
        stream.length.store(0, ordering: .relaxed)
        stream.next.store(position, ordering: .relaxed)
    }
}
