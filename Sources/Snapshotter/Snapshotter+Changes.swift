// SPDX-License-Identifier: Apache-2.0

package import Containerd
import Linux
import Log
import Synchronization

extension Snapshotter {
    package func prepare(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws(RPCStatus) -> [MountSpec] {
        try answering("snapshot \(key)") {
            try provide(key: key, parent: parent, labels: labels, context)
            try provideByIndex(key: key, parent: parent, labels: labels, context)
        }
        return try create(.active, key: key, parent: parent, labels: labels, context)
    }

    package func view(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws(RPCStatus) -> [MountSpec] {
        try create(.view, key: key, parent: parent, labels: labels, context)
    }

    private func create(
        _ kind: SnapshotInfo.Kind,
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws(RPCStatus) -> [MountSpec] {
        try answering("snapshot \(key)") {
            let labels = labels.filter { !$0.value.isEmpty }
            var owner = try SnapshotLabels.mappedRoot(labels)
            // Whether the key is free is found out with the row alone.
            let parentID = try store.parent(parent)
            let lower = try lower(parentID, context)
            if owner == nil, let highest = lower.paths.first {
                // The root of the overlay is the upper directory: it belongs to whom it did below.
                let status = try FileStatus(path: highest)
                owner = (status.userID, status.groupID)
            }
            try context.checkIsWanted()
            let now = CurrentProcess.nanosecondsSince1970
            let record = SnapshotRecord(
                id: beginNumber(),
                name: key,
                parentID: parentID,
                kind: kind,
                createdAt: now,
                updatedAt: now,
                labels: labels
            )
            defer { endNumber(record.id) }
            try add(record, parent: parent, owner: owner)
            housekeeper.settle(record.id)
            return overlay.mounts(of: record, lower: lower)
        }
    }

    /// Makes a snapshot's directory, then its row.
    private func add(
        _ record: SnapshotRecord,
        parent: String,
        owner: (user: UInt32, group: UInt32)?
    ) throws {
        do {
            // Before the transaction: others go on meanwhile, and it is short.
            try directories.make(record, owner: owner)
            try store.write("create") { rows in
                guard try rows.parentForNew(record.name, parent) == record.parentID else {
                    throw RPCStatus(.notFound, "parent \(parent) was replaced meanwhile")
                }
                try rows.insert(NamedRecord(record: record, parent: parent))
            }
        } catch {
            discardUnused(record.id)
            throw error
        }
    }

    /// Takes a directory away that has no row.
    func discardUnused(_ id: Int64) {
        try? directories.discard("\(id)")
        housekeeper.emptyTrash()
    }

    package func commit(
        name: String,
        key: String,
        labels: [String: String],
        parent: String,
        _ context: CallContext
    ) throws(RPCStatus) {
        let id = try answering("snapshot \(key)") {
            try store.write("commit") { rows in
                var named = try rows.existing(key)
                guard try rows.snapshot(name) == nil else {
                    throw RPCStatus(.alreadyExists, "committed snapshot \(name) exists")
                }
                guard named.record.kind == .active else {
                    throw RPCStatus(.failedPrecondition, "snapshot \(key) is not active")
                }
                if !parent.isEmpty {
                    named.record.parentID = try rows.parentForCommit(of: named.record, parent)
                    named.parent = parent
                }
                named.record.name = name
                named.record.kind = .committed
                named.record.labels = labels.filter { !$0.value.isEmpty }
                named.record.createdAt = CurrentProcess.nanosecondsSince1970
                named.record.updatedAt = named.record.createdAt
                // Measuring reads every directory of the layer: nobody waits for that here.
                named.record.usage = nil
                try rows.replace(named)
                return named.record.id
            }
        }
        housekeeper.settle(id)
    }

    package func remove(key: String, _ context: CallContext) throws(RPCStatus) {
        try answering("snapshot \(key)") {
            let record = try store.write("remove") { rows in
                let record = try rows.existing(key).record
                guard try !rows.hasChildren(record.id) else {
                    throw RPCStatus(
                        .failedPrecondition,
                        "cannot remove snapshot \(key): others are made from it"
                    )
                }
                try rows.delete(id: record.id)
                return record
            }
            if let image = record.lazy?.image { housekeeper.release(image) }
            do {
                try directories.discard("\(record.id)")
            } catch {
                // It is removed all the same: the next start or cleanup takes the directory away.
                logger.warning(
                    "a removed snapshot's directory stays",
                    ["snapshot": "\(record.id)", "error": "\(error)"]
                )
            }
        }
        housekeeper.emptyTrash()
    }

    /// A number that no snapshot ever had; `endNumber` is called once its row is there, or never
    /// will be.
    func beginNumber() -> Int64 {
        numbers.withLock { numbers in
            defer { numbers.next += 1 }
            numbers.inUse.insert(numbers.next)
            return numbers.next
        }
    }

    /// Ends what `beginNumber` began.
    func endNumber(_ id: Int64) {
        numbers.withLock { _ = $0.inUse.remove(id) }
    }

    package func update(
        _ update: SnapshotUpdate,
        _ context: CallContext
    ) throws(RPCStatus) -> SnapshotInfo {
        let named = try answering("snapshot \(update.name)") {
            try store.write("update") { rows in
                var named = try rows.existing(update.name)
                named.record.labels = update.labels(changing: named.record.labels)
                named.record.updatedAt = CurrentProcess.nanosecondsSince1970
                try rows.replace(named)
                return named
            }
        }
        housekeeper.settle(named.record.id)
        return named.info
    }
}
