// SPDX-License-Identifier: Apache-2.0

import Containerd

extension StoreRows {
    /// The snapshot of a name.
    ///
    /// - Throws: `notFound`.
    func existing(_ name: String) throws -> NamedRecord {
        guard let found = try snapshot(name) else {
            throw RPCStatus(.notFound, "snapshot \(name) does not exist")
        }
        return found
    }

    /// The number of the parent of a snapshot that is to be made; nil for none.
    ///
    /// - Throws: `notFound`, `invalidArgument`, `alreadyExists`.
    func parentForNew(_ key: String, _ parent: String) throws -> Int64? {
        let id = parent.isEmpty ? nil : try committed(parent)
        guard try snapshot(key) == nil else {
            throw RPCStatus(.alreadyExists, "snapshot \(key) exists")
        }
        return id
    }

    /// The number of the parent that an active snapshot gets when it is committed.
    func parentForCommit(of record: SnapshotRecord, _ parent: String) throws -> Int64 {
        let id = try committed(parent)
        guard record.parentID == nil || record.parentID == id else {
            throw RPCStatus(
                .invalidArgument,
                "snapshot \(record.name) cannot get another parent: \(parent)"
            )
        }
        return id
    }

    private func committed(_ parent: String) throws -> Int64 {
        guard let found = try snapshot(parent)?.record else {
            throw RPCStatus(.notFound, "parent \(parent) does not exist")
        }
        guard found.kind == .committed else {
            throw RPCStatus(.invalidArgument, "parent \(parent) is not committed")
        }
        return found.id
    }
}
