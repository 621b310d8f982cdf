// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a file of the cache is read ahead of its sequential readers, and what they leave behind.
///
/// The kernel of a mount asks for a quarter of a megabyte and waits for it: without this the storage
/// stands idle while the answer is copied. What was read ahead goes out of memory once it has been
/// read, since the reader's own page cache has it.
///
/// Decisions only, without locks. Threads that overwrite each other's notes make it read too little
/// or too much ahead: a matter of time, never of bytes.
final class StorageReadAhead: Sendable {
    /// What the kernel is to be told.
    struct Advice: Equatable {
        /// The bytes of the file that will be read soon; may be empty.
        var needed: Range<UInt64>
        /// Those that were read, and need not stay in memory; may be empty.
        var unneeded: Range<UInt64>
    }

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
        /// Where that begins which was read ahead and may still be in memory.
        let kept = Atomic<UInt64>(0)
    }

    /// The requests of one reader are served by several threads, not quite in order.
    private static let tolerance: UInt64 = 1 << 20
    /// Who has read less in a row is no sequential reader.
    private static let least: UInt64 = 512 << 10
    /// The furthest that is read ahead, in bytes.
    private static let window: UInt64 = 4 << 20

    private let first = Stream()
    private let second = Stream()
    /// Counts new readers; its last bit tells whose place they take.
    private let turn = Atomic<UInt64>(0)

    /// A read is about to begin.
    ///
    /// - Parameters:
    ///   - offset: where, in bytes.
    ///   - count: how many bytes.
    /// - Returns: what the kernel is to be told before; nil for nothing.
    func reading(at offset: UInt64, count: Int) -> Advice? {
        let end = offset &+ UInt64(count)
        if Self.isNext(first, offset) { return Self.advance(first, to: end) }
        if Self.isNext(second, offset) { return Self.advance(second, to: end) }
        let isFirst = turn.wrappingAdd(1, ordering: .relaxed).newValue & 1 == 0
        return isFirst ? Self.begin(first, at: end) : Self.begin(second, at: end)
    }

    /// A read that began there waits for storage.
    func waiting(at offset: UInt64) {
        if Self.isNext(first, offset) { return first.hasWaited.store(true, ordering: .relaxed) }
        if Self.isNext(second, offset) { second.hasWaited.store(true, ordering: .relaxed) }
    }

    private static func isNext(_ stream: borrowing Stream, _ offset: UInt64) -> Bool {
        let next = stream.next.load(ordering: .relaxed)
        return next != 0 && offset &+ tolerance >= next && offset <= next &+ tolerance
    }

    /// A reader goes on.
    private static func advance(_ stream: borrowing Stream, to position: UInt64) -> Advice? {
        let last = stream.next.load(ordering: .relaxed)
        if position > last {
            stream.next.store(position, ordering: .relaxed)
            stream.length.wrappingAdd(position - last, ordering: .relaxed)
        }
        let next = max(position, last)
        let length = stream.length.load(ordering: .relaxed)
        guard stream.hasWaited.load(ordering: .relaxed), length >= least else { return nil }
        let end = stream.end.load(ordering: .relaxed)
        let distance = min(length, window)
        guard end < next &+ distance / 2 else { return nil }
        // Of several threads, one tells the kernel.
        guard
            stream.end.compareExchange(
                expected: end,
                desired: next &+ distance,
                ordering: .relaxed
            ).exchanged
        else { return nil }
        let behind = next > tolerance ? next - tolerance : 0
        if end == 0 {
            stream.kept.store(next, ordering: .relaxed)
            return Advice(needed: next..<next + distance, unneeded: next..<next)
        }
        let kept = stream.kept.load(ordering: .relaxed)
        if behind > kept { stream.kept.store(behind, ordering: .relaxed) }
        return Advice(
            needed: max(end, next)..<next + distance,
            unneeded: kept..<max(behind, kept)
        )
    }

    /// A new reader takes the place of one that has not been seen for longer.
    private static func begin(_ stream: borrowing Stream, at position: UInt64) -> Advice? {
        let end = stream.end.exchange(0, ordering: .relaxed)
        let kept = stream.kept.load(ordering: .relaxed)
        stream.hasWaited.store(false, ordering: .relaxed)
        stream.length.store(0, ordering: .relaxed)
        stream.next.store(position, ordering: .relaxed)
        guard end > kept else { return nil }
        return Advice(needed: 0..<0, unneeded: kept..<end)
    }
}
