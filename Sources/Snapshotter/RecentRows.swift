// SPDX-License-Identifier: Apache-2.0
//
// Invariants:
// 1. The database decides: a row is here only after it was read there, or written there for good.
// 2. From before a change is committed until it is known how that went, no row that it changes is
//    here, and none that was read meanwhile, or before, comes here: it may be the old one.

import Synchronization

/// The snapshots that were asked for or changed last, in memory: a pull and the start of a container
/// ask several times for what they have just made, and after each change SQLite's readers begin by
/// reading the changed pages again.
final class RecentRows: Sendable {
    private struct State {
        var rows: [Int64: NamedRecord] = [:]
        /// The numbers of `rows` by their names.
        var ids: [String: Int64] = [:]
        /// Changes that were ever begun.
        var changes: UInt64 = 0
        /// Whether a change is being committed; there is one at a time.
        var isChanging = false
    }

    /// What a row that is read has to come back with, to be kept.
    struct Mark: Sendable {
        fileprivate let changes: UInt64?
    }

    /// So many are kept.
    private static let limit = 256
    /// A row is kept if its labels have no more bytes: with the limit, 4 MB at most.
    private static let labelBytes = 16 << 10

    private let state = Mutex(State())

    /// The snapshot of a name.
    ///
    /// - Returns: it, if it is here; else what it can be kept with once it is read.
    func find(_ name: String) -> (NamedRecord?, Mark) {
        state.withLock { state in
            let found = state.ids[name].flatMap { state.rows[$0] }
            return (found, Mark(changes: state.isChanging ? nil : state.changes))
        }
    }

    /// Keeps a row that was read, unless a change has begun meanwhile.
    ///
    /// - Parameters:
    ///   - row: the snapshot, as the database has it.
    ///   - mark: what `find` gave before it was read.
    func keep(_ row: NamedRecord, _ mark: Mark) {
        state.withLock { state in
            guard !state.isChanging, mark.changes == state.changes else { return }
            Self.add(row, &state)
        }
    }

    /// Forgets what a change is about; it is committed next.
    func begin(_ changes: RowChanges) {
        state.withLock { state in
            state.changes += 1
            state.isChanging = true
            for id in changes.rows.keys {
                guard let old = state.rows.removeValue(forKey: id) else { continue }
                state.ids[old.record.name] = nil
            }
        }
    }

    /// Notes how the change that was begun has ended.
    ///
    /// - Parameter changes: the changes, if they are in the database.
    func end(_ changes: RowChanges?) {
        state.withLock { state in
            state.isChanging = false
            for case let row? in changes?.rows.values ?? [:].values { Self.add(row, &state) }
        }
    }

    private static func add(_ row: NamedRecord, _ state: inout State) {
        let size = row.record.labels.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard size <= labelBytes else { return }
        if state.rows.count >= limit {
            state.rows.removeAll(keepingCapacity: true)
            state.ids.removeAll(keepingCapacity: true)
        }
        state.rows[row.record.id] = row
        state.ids[row.record.name] = row.record.id
    }
}

/// What one transaction has changed; used by its thread alone.
final class RowChanges {
    /// The new rows by their numbers; nil for those that were taken away.
    private(set) var rows: [Int64: NamedRecord?] = [:]

    /// Notes a row that was added or changed.
    func note(_ row: NamedRecord) {
        rows[row.record.id] = .some(row)
    }

    /// Notes that a row was taken away.
    func noteRemoval(of id: Int64) {
        rows[id] = .some(nil)
    }
}
