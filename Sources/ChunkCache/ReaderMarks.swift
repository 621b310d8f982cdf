// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// The chunks of a blob at which sequential readers are awaited; asked by every read.
///
/// Four chunk indexes plus one, two a word; 0 for none. A mark that is seen too late or twice
/// costs a reader nothing but time.
final class ReaderMarks: Sendable {
    private let first = Atomic<UInt64>(0)
    private let second = Atomic<UInt64>(0)

    /// Whether the chunk is marked; takes no lock.
    func contains(_ index: Int) -> Bool {
        Self.contains(first.load(ordering: .relaxed), index)
            || Self.contains(second.load(ordering: .relaxed), index)
    }

    private static func contains(_ word: UInt64, _ index: Int) -> Bool {
        guard word != 0, let mark = UInt32(exactly: index &+ 1), mark != 0 else { return false }
        return UInt32(truncatingIfNeeded: word) == mark || UInt32(word >> 32) == mark
    }

    /// Replaces the marks; at most four count.
    func set(_ marks: [Int?]) {
        let numbers = marks.prefix(4).map { mark in
            mark.flatMap { UInt32(exactly: $0 &+ 1) } ?? 0
        }
        let padded = numbers + [UInt32](repeating: 0, count: 4 - numbers.count)
        first.store(UInt64(padded[0]) | UInt64(padded[1]) << 32, ordering: .relaxed)
        second.store(UInt64(padded[2]) | UInt64(padded[3]) << 32, ordering: .relaxed)
    }
}
