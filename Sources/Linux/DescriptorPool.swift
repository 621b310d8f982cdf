// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// Files that are open at a time: hundreds of images have more files than a process may have
/// descriptors.
///
/// 1. A file is opened when it is used, and stays open until others need its descriptor: of those
///    that nobody uses at the moment, one that was not used since the hand last passed it.
/// 2. A descriptor is closed only while nobody uses it, and used only while it is counted as used:
///    both are in one atomic word.
package final class DescriptorPool: Sendable {
    private struct Ring {
        /// The open files, and some that were closed by their owners.
        var slots: [DescriptorSlot] = []
        var hand = 0
    }

    private let limit: Int
    private let ring = Monitor(Ring())

    /// A pool without open files.
    ///
    /// - Parameter limit: how many files are open at most, at least 1; more if more are in use at
    ///   once.
    package init(limit: Int) {
        self.limit = max(limit, 1)
    }

    /// How many files are open.
    package var openCount: Int {
        ring.update { ring in ring.slots.reduce(0) { $0 + ($1.isOpen ? 1 : 0) } }
    }

    /// Opens a file for a slot, which uses it from now on; if it is open already, uses that.
    ///
    /// - Parameters:
    ///   - slot: where the descriptor goes.
    ///   - open: opens the file.
    /// - Returns: the descriptor, in use until `release`.
    /// - Throws: `SystemError`.
    package func open(
        _ slot: DescriptorSlot,
        _ open: () throws(SystemError) -> OwnedDescriptor
    ) throws(SystemError) -> Int32 {
        let result: Result<Int32, SystemError> = ring.update { ring in
            if let number = slot.acquire() { return .success(number) }
            makeRoom(in: &ring)
            do throws(SystemError) {
                let number = try open().release()
                slot.fill(number)
                ring.slots.append(slot)
                return .success(number)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Closes files until there is room for one more, or all are in use.
    private func makeRoom(in ring: inout Ring) {
        // Twice around: the first time takes the marks of use away.
        var left = 2 * ring.slots.count
        while ring.slots.count >= limit, left > 0 {
            left -= 1
            if ring.hand >= ring.slots.count { ring.hand = 0 }
            let slot = ring.slots[ring.hand]
            if slot.isOpen, slot.takeMark() || !slot.close() {
                ring.hand += 1
            } else {
                ring.slots.swapAt(ring.hand, ring.slots.count - 1)
                ring.slots.removeLast()
            }
        }
    }
}

/// A place for one file's descriptor.
package final class DescriptorSlot: Sendable {
    /// The descriptor plus one in the low 32 bits, 0 if there is none; its users above.
    private let word = Atomic<UInt64>(0)
    private let isMarked = Atomic(false)
    private static let oneUser: UInt64 = 1 << 32

    /// A place without a descriptor.
    package init() {}

    deinit {
        _ = close()
    }

    /// Whether there is a descriptor.
    var isOpen: Bool { UInt32(truncatingIfNeeded: word.load(ordering: .relaxed)) != 0 }

    /// The descriptor, in use until `release`; nil if there is none.
    ///
    /// Takes no lock.
    package func acquire() -> Int32? {
        var old = word.load(ordering: .relaxed)
        while true {
            let low = UInt32(truncatingIfNeeded: old)
            guard low != 0 else { return nil }
            let (exchanged, original) = word.weakCompareExchange(
                expected: old,
                desired: old &+ Self.oneUser,
                ordering: .acquiring
            )
            if exchanged {
                if !isMarked.load(ordering: .relaxed) { isMarked.store(true, ordering: .relaxed) }
                return Int32(bitPattern: low &- 1)
            }
            old = original
        }
    }

    /// Ends one use.
    package func release() {
        word.wrappingSubtract(Self.oneUser, ordering: .releasing)
    }

    /// Puts a descriptor in, used once; there must be none.
    fileprivate func fill(_ number: Int32) {
        word.store(Self.oneUser | UInt64(UInt32(bitPattern: number) &+ 1), ordering: .releasing)
    }

    /// Whether it was used since the last call.
    fileprivate func takeMark() -> Bool {
        isMarked.exchange(false, ordering: .relaxed)
    }

    /// Closes the descriptor, unless it is in use.
    ///
    /// - Returns: whether there is none any more.
    package func close() -> Bool {
        let old = word.load(ordering: .relaxed)
        if old == 0 { return true }
        guard old < Self.oneUser else { return false }
        // Acquiring: what users did with the descriptor comes before its end.
        let (exchanged, _) = word.compareExchange(
            expected: old,
            desired: 0,
            ordering: .acquiring
        )
        guard exchanged else { return false }
        _ = Glibc.close(Int32(bitPattern: UInt32(truncatingIfNeeded: old) &- 1))
        return true
    }
}
