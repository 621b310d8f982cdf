// SPDX-License-Identifier: Apache-2.0

import Containerd
import Glibc
import Linux
import Log

@testable import Snapshotter

/// The calls of the protocol with less to write.
extension Snapshotter {
    /// A snapshotter that logs nothing.
    convenience init(_ root: String, steps: StepObserver = .none) throws {
        let log = try FileSystem.openForAppending("/dev/null")
        let logger = Logger(level: .error, owning: log.release())
        try self.init(root: root, logger: logger, steps: steps)
    }

    /// A snapshotter that logs to a file.
    convenience init(_ root: String, logTo path: String) throws {
        let log = try FileSystem.openForAppending(path)
        try self.init(root: root, logger: Logger(level: .debug, owning: log.release()))
    }

    @discardableResult
    func prepare(
        _ key: String,
        _ parent: String = "",
        _ labels: [String: String] = [:]
    ) throws(RPCStatus) -> [MountSpec] {
        try prepare(key: key, parent: parent, labels: labels, CallContext())
    }

    @discardableResult
    func view(_ key: String, _ parent: String = "") throws(RPCStatus) -> [MountSpec] {
        try view(key: key, parent: parent, labels: [:], CallContext())
    }

    func mounts(_ key: String) throws(RPCStatus) -> [MountSpec] {
        try mounts(key: key, CallContext())
    }

    func commit(
        _ name: String,
        _ key: String,
        _ labels: [String: String] = [:],
        parent: String = ""
    ) throws(RPCStatus) {
        try commit(name: name, key: key, labels: labels, parent: parent, CallContext())
    }

    func remove(_ key: String) throws(RPCStatus) { try remove(key: key, CallContext()) }

    func stat(_ key: String) throws(RPCStatus) -> SnapshotInfo {
        try stat(key: key, CallContext())
    }

    func usage(_ key: String) throws(RPCStatus) -> SnapshotUsage {
        try usage(key: key, CallContext())
    }

    /// Labels as an `Update` message carries them.
    @discardableResult
    func update(
        _ name: String,
        _ labels: [String: String],
        mask: [String] = []
    ) throws(RPCStatus) -> SnapshotInfo {
        let change = try SnapshotUpdate(name: name, labels: labels, mask: mask)
        return try update(change, CallContext())
    }

    /// A committed snapshot with one file, named and filled by its name.
    func addLayer(_ name: String, _ parent: String = "") throws {
        try prepare("\(name)-key", parent)
        let id = try store.read { rows in try rows.snapshot("\(name)-key")?.record.id } ?? 0
        let path = "\(directories.upper(id))/\(name)"
        let bytes = Array(name.utf8)
        try unsafe FileSystem.replace(path, with: bytes.span.bytes)
        try commit(name, "\(name)-key")
    }

    /// All snapshots' names in order.
    func names() throws -> [String] {
        var names: [String] = []
        try list(.all, CallContext()) { infos throws(RPCStatus) in names += infos.map(\.name) }
        return names.sorted()
    }

    /// The upper directory of a snapshot.
    func upper(_ name: String) throws -> String {
        let id = try store.read { rows in try rows.snapshot(name)?.record.id }
        return directories.upper(id ?? -1)
    }

    /// What disagrees among rows, directories, sidecars and trash.
    func disagreements() throws -> [String] {
        waitUntilIdle()
        var found: [String] = []
        let records = try store.read { rows in try rows.snapshots(after: 0, limit: 10_000) }
        let rows = Set(records.map { "\($0.record.id)" })
        let names = Set(try directories.names())
        for name in rows.subtracting(names) { found.append("no directory \(name)") }
        for name in names.subtracting(rows) { found.append("no row \(name)") }
        for record in records.map(\.record) {
            let bytes = try? FileSystem.contents(of: directories.sidecar(record.id))
            if bytes != record.sidecar { found.append("sidecar of \(record.name)") }
            let place = directories.directory(record.id)
            let parts = Set((try? FileSystem.names(inDirectory: place)) ?? [])
            let isWritable = record.kind == .active
            if !parts.contains("fs") || (isWritable && !parts.contains("work")) {
                found.append("parts of \(record.name): \(parts)")
            }
            if record.kind == .committed, record.usage == nil {
                found.append("usage of \(record.name)")
            }
        }
        let trash = try FileSystem.names(inDirectory: directories.trash)
        if !trash.isEmpty { found.append("trash: \(trash)") }
        return found
    }
}

/// The code of a call that must fail; nil if it does not.
func code(_ body: () throws(RPCStatus) -> Void) -> RPCStatus.Code? {
    do throws(RPCStatus) {
        try body()
        return nil
    } catch {
        return error.code
    }
}
