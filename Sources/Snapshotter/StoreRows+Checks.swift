// SPDX-License-Identifier: Apache-2.0

import Containerd

extension SnapshotStore {
    /// The snapshot of a name.
    ///
    /// - Throws: `notFound`.
    func existing(_ name: String) throws -> NamedRecord {
        guard let found = try snapshot(name) else { throw RPCStatus.noSnapshot(name) }
        return found
    }

    /// The number of a snapshot that others may be made from.
    ///
    /// - Parameter parent: its name; empty for none.
    /// - Returns: the number; nil for none.
    /// - Throws: `notFound`, `invalidArgument`.
    func parent(_ parent: String) throws -> Int64? {
        parent.isEmpty ? nil : try NamedRecord.committed(try snapshot(parent), parent)
    }
}

extension RPCStatus {
    fileprivate static func noSnapshot(_ name: String) -> RPCStatus {
        RPCStatus(.notFound, "snapshot \(name) does not exist")
    }
}

extension NamedRecord {
    /// The number of a parent that was looked up.
    fileprivate static func committed(_ found: NamedRecord?, _ parent: String) throws -> Int64 {
        guard let found else {
            throw RPCStatus(.notFound, "parent \(parent) does not exist")
        }
        guard found.record.kind == .committed else {
            throw RPCStatus(.invalidArgument, "parent \(parent) is not committed")
        }
        return found.record.id
    }
}

extension StoreRows {
    /// The snapshot of a name.
    ///
    /// - Throws: `notFound`.
    func existing(_ name: String) throws -> NamedRecord {
        guard let found = try snapshot(name) else { throw RPCStatus.noSnapshot(name) }
        return found
    }

    /// The number of the parent of a snapshot that is to be made; nil for none.
    ///
    /// - Throws: `notFound`, `invalidArgument`, `alreadyExists`.
    func parentForNew(_ key: String, _ parent: String) throws -> Int64? {
        let id = parent.isEmpty ? nil : try NamedRecord.committed(try snapshot(parent), parent)
        guard try snapshot(key) == nil else {
            throw RPCStatus(.alreadyExists, "snapshot \(key) exists")
        }
        return id
    }

    /// The number of the parent that an active snapshot gets when it is committed.
    func parentForCommit(of record: SnapshotRecord, _ parent: String) throws -> Int64 {
        let id = try NamedRecord.committed(try snapshot(parent), parent)
        guard record.parentID == nil || record.parentID == id else {
            throw RPCStatus(
                .invalidArgument,
                "snapshot \(record.name) cannot get another parent: \(parent)"
            )
        }
        return id
    }
}
