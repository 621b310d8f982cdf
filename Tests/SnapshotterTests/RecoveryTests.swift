// SPDX-License-Identifier: Apache-2.0

import Containerd
import Database
import Glibc
import Linux
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Recovery")
struct RecoveryTests {
    /// Layers a, b on it and c on that; `active` on c, `view` on b.
    private func fill(_ root: String) throws -> [SnapshotInfo] {
        let snapshotter = try Snapshotter(root)
        defer { snapshotter.close() }
        try snapshotter.addLayer("a")
        try snapshotter.addLayer("b", "a")
        try snapshotter.addLayer("c", "b")
        try snapshotter.prepare("active", "c", ["żółw": "\"quoted\"\n"])
        try snapshotter.view("view", "b")
        snapshotter.waitUntilIdle()
        return try infos(snapshotter)
    }

    private func infos(_ snapshotter: Snapshotter) throws -> [SnapshotInfo] {
        var result: [SnapshotInfo] = []
        try snapshotter.list(.all, CallContext()) { infos throws(RPCStatus) in result += infos }
        return result
    }

    private func log(_ directory: borrowing TemporaryDirectory) -> String {
        String(decoding: directory.read("log"), as: UTF8.self)
    }

    /// Opens what `damage` has left, and looks at it.
    private func reopen(
        _ directory: borrowing TemporaryDirectory,
        _ look: (Snapshotter) throws -> Void
    ) throws {
        let snapshotter = try Snapshotter(
            "\(directory.path)/root",
            logTo: "\(directory.path)/log"
        )
        defer { snapshotter.close() }
        try look(snapshotter)
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func aLostDatabaseIsMadeAgain() throws {
        let directory = TemporaryDirectory()
        let before = try fill("\(directory.path)/root")
        try FileSystem.removeFile("\(directory.path)/root/snapshots.db")
        try reopen(directory) { snapshotter in
            #expect(try infos(snapshotter) == before)
            // A number is never used again.
            try snapshotter.prepare("next")
            #expect(try snapshotter.upper("next").hasSuffix("/6/fs"))
        }
        #expect(log(directory).contains("the database of the snapshots is missing"))
        #expect(log(directory).contains("snapshots=5"))
    }

    @Test(arguments: [0, 1, 2, 3])
    func aDamagedDatabaseIsMovedAsideAndMadeAgain(_ kind: Int) throws {
        let directory = TemporaryDirectory()
        let before = try fill("\(directory.path)/root")
        var bytes = directory.read("root/snapshots.db")
        switch kind {
        case 0: bytes = []
        case 1: bytes = Array(bytes.prefix(5_000))
        case 2: for index in 4096..<bytes.count { bytes[index] ^= 0x55 }
        default: bytes = Array("garbage".utf8)
        }
        directory.write("root/snapshots.db", bytes)
        try reopen(directory) { snapshotter in
            let after = try infos(snapshotter)
            #expect(after == before)
        }
        let names = try FileSystem.names(inDirectory: "\(directory.path)/root")
        #expect(names.contains { $0.hasPrefix("snapshots.db.damaged-") })
        #expect(log(directory).contains("is damaged: moved aside"))
    }

    @Test func aNewerDatabaseIsRefusedAndLeftAlone() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        _ = try fill(root)
        let path = "\(root)/snapshots.db"
        try Connection(path, applicationID: SnapshotStore.applicationID)
            .execute("PRAGMA user_version=7")
        let error = #expect(throws: DatabaseError.self) { _ = try Snapshotter(root) }
        #expect(error?.kind == .tooNew(found: 7, known: 2))
        #expect(error?.description.hasPrefix("\(path): version 7 of the database") == true)
        try Connection(path, applicationID: SnapshotStore.applicationID)
            .execute("PRAGMA user_version=2")
        try reopen(directory) { snapshotter in
            let names = try snapshotter.names()
            #expect(names.count == 5)
        }
    }

    @Test func whatHasNoUsableSidecarIsSetAside() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        _ = try fill(root)
        try FileSystem.removeFile("\(root)/snapshots.db")
        // b is damaged: c, active and view have lost their parent with it.
        directory.write("root/snapshots/2/snapshot.json", Array("{}".utf8))
        try FileSystem.makeDirectories("\(root)/snapshots/77/fs")
        try reopen(directory) { snapshotter in
            let names = try snapshotter.names()
            #expect(names == ["a"])
        }
        let lost = try FileSystem.names(inDirectory: "\(root)/lost").sorted()
        #expect(lost == ["2", "3", "4", "5"])
        #expect(directory.read("root/lost/2/fs/b") == Array("b".utf8))
        #expect(log(directory).contains("its parent, snapshot 2, is gone"))
    }

    @Test func rowsAndDirectoriesAreBroughtTogether() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        _ = try fill(root)
        // a is not a leaf.
        try FileSystem.rename("\(root)/snapshots/1", to: "\(directory.path)/1")
        try FileSystem.makeDirectories("\(root)/snapshots/50/fs")
        try FileSystem.makeDirectories("\(root)/trash/60/fs")
        try FileSystem.removeFile("\(root)/snapshots/3/snapshot.json")
        let snapshotter = try Snapshotter(root, logTo: "\(directory.path)/log")
        defer { snapshotter.close() }
        #expect(try snapshotter.names() == ["a", "active", "b", "c", "view"])
        #expect(
            try snapshotter.disagreements() == ["no directory 1", "sidecar of a", "parts of a: []"]
        )
        #expect(
            log(directory).contains("a snapshot's directory is gone, and others are made from it")
        )
        try snapshotter.prepare("next")
        #expect(try snapshotter.upper("next").hasSuffix("/61/fs"))
    }

    /// Directories are not synced: any of them may be missing, from the last one back.
    @Test(arguments: [
        ["4", "5"], ["4/fs", "4/work", "5/fs"], ["4/work"], ["5/fs", "5/snapshot.json"],
    ])
    func whatAPowerCutTakesOfWritableSnapshotsIsMadeAgain(_ taken: [String]) throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let before = try fill(root)
        try FileSystem.setOwner("\(root)/snapshots/3/fs", user: getuid(), group: getgid())
        for (index, part) in taken.enumerated() {
            try FileSystem.rename("\(root)/snapshots/\(part)", to: "\(directory.path)/\(index)")
        }
        try reopen(directory) { snapshotter in
            #expect(try infos(snapshotter) == before)
            let upper = try snapshotter.upper("active")
            let status = try FileStatus(path: upper)
            #expect(status.isDirectory)
            #expect(status.mode & 0o7777 == 0o755)
            let mounts = try snapshotter.mounts("active")
            #expect(mounts.count == 1)
        }
        let text = log(directory)
        #expect(text.contains("made again, empty"))
        #expect(!text.contains("goes to the trash"))
    }

    /// An image that was pulled just before, with a container on it, of which nothing is left: it is
    /// forgotten, so that containerd is told, and pulls again.
    @Test func whatAPowerCutTakesOfLayersIsForgotten() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        _ = try fill(root)
        // Of c there is a directory, without its files.
        for part in ["2", "3/fs", "4", "5"] {
            let name = part.replacing("/", with: "-")
            try FileSystem.rename("\(root)/snapshots/\(part)", to: "\(directory.path)/\(name)")
        }
        try reopen(directory) { snapshotter in
            let names = try snapshotter.names()
            #expect(names == ["a"])
            let refusal = code { () throws(RPCStatus) in try snapshotter.prepare("x", "c") }
            #expect(refusal == .notFound)
        }
        #expect(log(directory).contains("a snapshot's directory is gone: forgotten"))
    }

    @Test func aThousandSnapshotsAreTakenOverQuickly() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try Snapshotter(root).close()
        let places = SnapshotDirectories(root, steps: .none)
        let records = (1...1_000).map { index in
            SnapshotRecord(
                id: Int64(index),
                name: "default/\(index)/sha256:\(String(repeating: "a", count: 64))",
                parentID: index % 10 == 1 ? nil : Int64(index) - 1,
                kind: .committed,
                createdAt: 1,
                updatedAt: 1,
                labels: ["containerd.io/snapshot.ref": "sha256:\(index)"],
                usage: SnapshotUsage(inodes: 1, size: 4096)
            )
        }
        for record in records {
            try FileSystem.makeDirectories(places.upper(record.id))
            let bytes = record.sidecar
            let file = try FileSystem.create(places.sidecar(record.id))
            try unsafe file.write(bytes.span.bytes, "sidecar")
        }
        try SnapshotStore(places.database, isNew: false, steps: .none)
            .write("test") { rows in try rows.insertAll(records) }
        for isLost in [false, true] {
            if isLost { try FileSystem.removeFile(places.database) }
            let start = CurrentProcess.monotonicNanoseconds
            let snapshotter = try Snapshotter(root)
            let elapsed = CurrentProcess.monotonicNanoseconds - start
            // 0.1 s on an idle machine: this only finds what grows with the square.
            #expect(elapsed < 20_000_000_000, "\(elapsed) ns")
            #expect(try snapshotter.names().count == 1_000)
            #expect(try snapshotter.disagreements() == [])
            snapshotter.close()
        }
    }

    @Test func sidecarsComeBackAsTheyWent() throws {
        let record = SnapshotRecord(
            id: 7,
            name: "default/12/\u{0}żółw \"x\"",
            parentID: 3,
            kind: .committed,
            createdAt: 1_700_000_000_123_456_789,
            updatedAt: .min,
            labels: ["a/b": "c\n", "d": "\u{1F422}"],
            usage: SnapshotUsage(inodes: 5, size: .max)
        )
        #expect(try SnapshotRecord(sidecar: record.sidecar, path: "x") == record)
        var small = record
        small.parentID = nil
        small.usage = nil
        small.labels = [:]
        #expect(try SnapshotRecord(sidecar: small.sidecar, path: "x") == small)
        for cut in record.sidecar.indices.dropLast(2) {
            #expect(throws: (any Error).self) {
                _ = try SnapshotRecord(sidecar: Array(record.sidecar[..<cut]), path: "x")
            }
        }
    }

    @Test(.enabled(if: getuid() == 0, "mounting needs root"))
    func aFullDiskIsSaidAndLeavesNothingHalfDone() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try FileSystem.makeDirectories(root)
        try mountFileSystem(
            source: "test",
            at: root,
            type: "tmpfs",
            restrictions: [],
            options: "size=2m,nr_inodes=4096"
        )
        defer { try? unmountFileSystem(at: root, lazily: true) }
        let snapshotter = try Snapshotter(root)
        try snapshotter.addLayer("a")
        directory.write("root/fill", [UInt8](repeating: 1, count: 4 << 20))
        var failure: RPCStatus?
        for index in 0..<2_000 where failure == nil {
            do throws(RPCStatus) {
                try snapshotter.prepare("key\(index)", "a")
            } catch {
                failure = error
            }
        }
        #expect(failure?.code == .resourceExhausted, "\(failure?.description ?? "")")
        try FileSystem.removeFile("\(root)/fill")
        try snapshotter.prepare("after", "a")
        #expect(try snapshotter.disagreements() == [])
        snapshotter.close()
    }
}
