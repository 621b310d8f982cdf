// SPDX-License-Identifier: Apache-2.0

/// Which snapshots a caller of `List` wants.
package struct SnapshotFilter: Sendable {
    /// Every snapshot.
    package static let all = SnapshotFilter()

    /// Whether the snapshot is wanted.
    package func matches(_ snapshot: SnapshotInfo) -> Bool { true }
}
