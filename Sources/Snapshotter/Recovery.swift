// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Database
import Linux
import Log

/// Brings a root directory into agreement with itself, at the start.
struct Recovery {
    /// What the start leaves to others.
    struct Findings {
        /// The lowest number that was never used.
        var nextID: Int64 = 1
        /// Snapshots to measure, or whose sidecar could not be written.
        var unsettled: [Int64] = []
    }

    let directories: SnapshotDirectories
    let logger: Logger
    private let steps: StepObserver

    /// Rows read at a time.
    private static let pageSize = 256

    init(_ directories: SnapshotDirectories, _ logger: Logger, _ steps: StepObserver) {
        self.directories = directories
        self.logger = logger
        self.steps = steps
    }

    /// Opens the database; one that is damaged or lost is made again from the sidecars.
    ///
    /// - Throws: `DatabaseError`, `SystemError`.
    func open() throws -> (SnapshotStore, Findings) {
        let store = try openOrRebuild()
        var findings = Findings()
        try reconcile(store, &findings)
        return (store, findings)
    }

    private func openOrRebuild() throws -> SnapshotStore {
        let path = directories.database
        let isNew = try !directories.names().contains { Int64($0) != nil }
        if exists(path) {
            do {
                return try SnapshotStore(path, isNew: isNew, steps: steps)
            } catch let error as DatabaseError where error.kind == .corrupt {
                logger.error(
                    "the database of the snapshots is damaged: moved aside",
                    ["file": path, "error": "\(error)"]
                )
                // The file itself goes first: without it the others mean nothing to a next start.
                try moveAside(path)
            }
        } else if !isNew {
            logger.warning("the database of the snapshots is missing", ["file": path])
        }
        try removeLeftovers(path)
        if !isNew { try rebuild() }
        return try SnapshotStore(path, isNew: isNew, steps: steps)
    }

    private func exists(_ path: String) -> Bool {
        (try? FileStatus(path: path)) != nil
    }

    private func moveAside(_ path: String) throws(SystemError) {
        let suffix = ".damaged-\(CurrentProcess.nanosecondsSince1970)"
        for end in ["", "-wal", "-shm"] where exists(path + end) {
            steps.willDo("move database\(end) aside")
            try FileSystem.rename(path + end, to: path + suffix + end)
        }
        logger.info("the damaged database is kept", ["file": path + suffix])
    }

    /// SQLite would play the log of a database that is gone into the one that takes its name.
    private func removeLeftovers(_ path: String) throws(SystemError) {
        for end in ["-wal", "-shm", "-journal"] { try FileSystem.removeFile(path + end) }
    }

    /// Makes the database from the sidecars, under another name until it is complete.
    private func rebuild() throws {
        let path = directories.database
        let temporary = path + ".new"
        try FileSystem.removeFile(temporary)
        try removeLeftovers(temporary)
        let records = try usableRecords()
        do {
            let store = try SnapshotStore(temporary, isNew: true, steps: steps)
            try store.write("rebuild") { rows in try rows.insertAll(records) }
        }
        // Closed by now, the log is in the file.
        steps.willDo("name rebuilt database")
        try FileSystem.rename(temporary, to: path)
        try FileSystem.synchronizeDirectory(directories.root)
        logger.warning(
            "the database of the snapshots is made again from their directories",
            ["snapshots": "\(records.count)"]
        )
    }

    /// The records of all sidecars that make sense together; the others' directories are set aside.
    private func usableRecords() throws -> [SnapshotRecord] {
        var records: [Int64: SnapshotRecord] = [:]
        for name in try directories.names() {
            guard let id = Int64(name) else { continue }
            let path = directories.sidecar(id)
            guard exists(path) else {
                // Of the last seconds. An empty one is nobody's loss: it goes to the trash.
                let files = try? FileSystem.names(inDirectory: directories.upper(id))
                if files?.isEmpty == false { try setAside(id, "it has no sidecar yet") }
                continue
            }
            do {
                let bytes = try FileSystem.contents(of: path)
                let record = try SnapshotRecord(sidecar: bytes, path: path)
                guard record.id == id else {
                    throw ContentError.corrupt("\(path): of snapshot \(record.id)")
                }
                records[id] = record
            } catch {
                try setAside(id, "\(error)")
            }
        }
        return try connected(uniquelyNamed(records))
    }

    /// One record of each name: of a removed snapshot and its successor, the successor.
    private func uniquelyNamed(
        _ records: [Int64: SnapshotRecord]
    ) throws -> [Int64: SnapshotRecord] {
        var names: [String: Int64] = [:]
        var result = records
        for id in records.keys.sorted() {
            guard let record = records[id] else { continue }
            if let older = names.updateValue(id, forKey: record.name) {
                result[older] = nil
                try setAside(older, "snapshot \(id) has its name: \(record.name)")
            }
        }
        return result
    }

    /// Those whose parents are all there.
    private func connected(_ records: [Int64: SnapshotRecord]) throws -> [SnapshotRecord] {
        var children: [Int64: [SnapshotRecord]] = [:]
        var result: [SnapshotRecord] = []
        for record in records.values {
            if let parent = record.parentID {
                children[parent, default: []].append(record)
            } else {
                result.append(record)
            }
        }
        var index = 0
        while index < result.count {
            let parent = result[index]
            index += 1
            guard parent.kind == .committed else { continue }
            result += children.removeValue(forKey: parent.id) ?? []
        }
        for record in children.values.joined() where !result.contains(where: { $0.id == record.id })
        {
            try setAside(record.id, "its parent, snapshot \(record.parentID ?? 0), is gone")
        }
        return result
    }

    private func setAside(_ id: Int64, _ reason: String) throws(SystemError) {
        let path = try directories.setAside("\(id)")
        logger.error(
            "a snapshot without a usable sidecar is set aside",
            ["directory": path, "reason": reason]
        )
    }
}

extension Recovery {
    /// Makes rows, directories and sidecars agree.
    private func reconcile(_ store: SnapshotStore, _ findings: inout Findings) throws {
        try dropRows(try restoreDirectories(store), store)
        let names = try directories.names()
        let rows = try store.read { rows in try rows.ids() }
        var found: Set<Int64> = []
        for name in names {
            if let id = Int64(name), rows.contains(id) {
                found.insert(id)
            } else {
                logger.info("a directory without a snapshot goes to the trash", ["name": name])
                try directories.discard(name)
            }
        }
        try reviseSidecars(store, found, &findings)
        let highest = try store.read { rows in try rows.highestID() }
        let numbers = names + (try FileSystem.names(inDirectory: directories.trash))
        // Also numbers of directories whose row never came.
        findings.nextID = max(highest, numbers.compactMap { Int64($0) }.max() ?? 0) + 1
    }

    /// Drops rows whose directories are gone, unless something is made from them.
    private func dropRows(_ ids: Set<Int64>, _ store: SnapshotStore) throws {
        // From the top of each chain: children have higher numbers, or are committed with one.
        var missing = ids
        var hasChanged = true
        while hasChanged {
            hasChanged = false
            for id in missing.sorted(by: >) {
                let isGone = try store.write("drop row") { rows in
                    if try rows.hasChildren(id) { return false }
                    try rows.delete(id: id)
                    return true
                }
                guard isGone else { continue }
                missing.remove(id)
                hasChanged = true
                logger.error("a snapshot's directory is gone: forgotten", ["snapshot": "\(id)"])
            }
        }
        for id in missing.sorted() {
            logger.error(
                "a snapshot's directory is gone, and others are made from it",
                ["snapshot": "\(id)", "directory": directories.directory(id)]
            )
        }
    }

    private func reviseSidecars(
        _ store: SnapshotStore,
        _ found: Set<Int64>,
        _ findings: inout Findings
    ) throws {
        try forEachRecord(store) { record in
            guard found.contains(record.id) else { return }
            let isCurrent =
                (try? FileSystem.contents(of: directories.sidecar(record.id))) == record.sidecar
            if !isCurrent || (record.kind == .committed && record.usage == nil) {
                findings.unsettled.append(record.id)
            }
        }
    }

    /// Calls the body with every snapshot, in the order of their numbers.
    func forEachRecord(_ store: SnapshotStore, _ body: (SnapshotRecord) throws -> Void) throws {
        var last: Int64 = 0
        while true {
            let after = last
            let page = try store.read { rows in
                try rows.snapshots(after: after, limit: Self.pageSize)
            }
            guard let end = page.last?.record.id else { return }
            last = end
            for named in page { try body(named.record) }
        }
    }
}
