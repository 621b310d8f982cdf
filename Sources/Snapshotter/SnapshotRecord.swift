// SPDX-License-Identifier: Apache-2.0

import Containerd

/// A snapshot as it is stored: a row of the database, and a sidecar beside its files.
struct SnapshotRecord: Sendable, Equatable {
    /// Its number, which names its directory; never used twice.
    var id: Int64
    /// The key of an active snapshot or a view, the name of a committed one.
    var name: String
    /// The number of the snapshot below; nil for none.
    var parentID: Int64?
    /// What it may be used for.
    var kind: SnapshotInfo.Kind
    /// When it was prepared or committed: nanoseconds since 1970, UTC.
    var createdAt: Int64
    /// When labels or kind last changed, likewise.
    var updatedAt: Int64
    /// Its labels, none of them empty.
    var labels: [String: String]
    /// What a committed snapshot takes; nil before it is measured.
    var usage: SnapshotUsage?
    /// Whose files it has, where they were never downloaded; nil for an ordinary snapshot.
    var lazy: LazyLayer?

    /// What containerd is told.
    ///
    /// - Parameter parent: the name of the snapshot below; empty for none.
    /// - Returns: the protocol's words for it.
    func info(parent: String) -> SnapshotInfo {
        SnapshotInfo(
            name: name,
            parent: parent,
            kind: kind,
            labels: labels,
            createdAt: Self.time(createdAt),
            updatedAt: Self.time(updatedAt)
        )
    }

    private static func time(_ nanoseconds: Int64) -> SnapshotInfo.Time {
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        // Before 1970, where only a wrong clock leads, the rest must not be negative.
        return rest < 0
            ? SnapshotInfo.Time(seconds: seconds - 1, nanoseconds: Int32(rest + 1_000_000_000))
            : SnapshotInfo.Time(seconds: seconds, nanoseconds: Int32(rest))
    }
}

/// A snapshot with the name of the one below; empty for none.
struct NamedRecord: Sendable, Equatable {
    var record: SnapshotRecord
    var parent: String

    var info: SnapshotInfo { record.info(parent: parent) }
}
