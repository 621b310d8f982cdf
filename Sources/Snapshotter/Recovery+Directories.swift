// SPDX-License-Identifier: Apache-2.0

import Containerd
import Linux
import Log

/// A row may be on storage when its directory, which was made before it and is not synced, is not:
/// only after a power cut.
///
/// Nothing that was on storage is lost then: on ext4, XFS and Btrfs a file that is synced brings the
/// directories along that it is in.
extension Recovery {
    /// Makes the missing directories of snapshots again, empty, where they may be empty.
    ///
    /// A layer's files cannot be made again, and what stands on a layer that is gone cannot be
    /// mounted.
    ///
    /// - Returns: the numbers of the snapshots that cannot be helped.
    /// - Throws: `DatabaseError`, `SystemError`, `RPCStatus`.
    func restoreDirectories(_ store: SnapshotStore) throws -> Set<Int64> {
        var incomplete: [SnapshotRecord] = []
        try forEachRecord(store) { record in
            if !directories.isComplete(record) { incomplete.append(record) }
        }
        let isLayer = { (record: SnapshotRecord) in record.kind == .committed && record.lazy == nil
        }
        let layers = Set(incomplete.filter(isLayer).map(\.id))
        var lost = layers
        for record in incomplete where !isLayer(record) {
            let chain = try store.chain(from: record.id)
            guard !chain.contains(where: { layers.contains($0.id) }) else {
                lost.insert(record.id)
                continue
            }
            try directories.complete(record, owner: owner(of: record, on: chain.dropFirst().first))
            logger.warning(
                "a snapshot's directory was missing, as after a power cut: made again, empty",
                ["snapshot": "\(record.id)", "name": record.name]
            )
        }
        return lost
    }

    /// To whom a snapshot's root belongs, as when it was made; nil for us, also on an image's mount,
    /// which is not there yet.
    private func owner(
        of record: SnapshotRecord,
        on parent: ChainLink?
    ) throws -> (user: UInt32, group: UInt32)? {
        if let mapped = try SnapshotLabels.mappedRoot(record.labels) { return mapped }
        guard let parent, parent.lazy == nil else { return nil }
        let status = try FileStatus(path: directories.upper(parent.id))
        return (status.userID, status.groupID)
    }
}
