// SPDX-License-Identifier: Apache-2.0

import Containerd
import Glibc
import Linux
import Log
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Snapshotter")
struct SnapshotterTests {
    @Test func theLifeOfASnapshot() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let snapshotter = try Snapshotter(root)
        defer { snapshotter.close() }
        let before = CurrentProcess.nanosecondsSince1970
        try snapshotter.prepare("key", "", ["a": "1", "empty": ""])
        let active = try snapshotter.stat("key")
        #expect(active.kind == .active)
        #expect(active.parent == "")
        #expect(active.labels == ["a": "1"])
        #expect(active.createdAt == active.updatedAt)
        #expect(active.createdAt.seconds >= before / 1_000_000_000)
        try snapshotter.commit("name", "key", ["b": "2"])
        #expect(code { () throws(RPCStatus) in _ = try snapshotter.stat("key") } == .notFound)
        let committed = try snapshotter.stat("name")
        #expect(committed.kind == .committed)
        #expect(committed.labels == ["b": "2"])
        try snapshotter.prepare("child", "name")
        #expect(try snapshotter.stat("child").parent == "name")
        #expect(try snapshotter.names() == ["child", "name"])
        try snapshotter.remove("child")
        try snapshotter.remove("name")
        #expect(try snapshotter.names().isEmpty)
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func everyRefusalHasContainerdsKind() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.addLayer("base")
        try snapshotter.prepare("active", "base")
        try snapshotter.view("view", "base")
        func expect(_ wanted: RPCStatus.Code, _ body: () throws(RPCStatus) -> Void) {
            #expect(code(body) == wanted)
        }
        expect(.alreadyExists) { () throws(RPCStatus) in try snapshotter.prepare("active") }
        expect(.alreadyExists) { () throws(RPCStatus) in try snapshotter.view("active", "base") }
        expect(.alreadyExists) { () throws(RPCStatus) in try snapshotter.prepare("base") }
        expect(.notFound) { () throws(RPCStatus) in try snapshotter.prepare("x", "missing") }
        expect(.invalidArgument) { () throws(RPCStatus) in try snapshotter.prepare("x", "active") }
        expect(.invalidArgument) { () throws(RPCStatus) in try snapshotter.view("x", "view") }
        expect(.notFound) { () throws(RPCStatus) in _ = try snapshotter.mounts("missing") }
        expect(.failedPrecondition) { () throws(RPCStatus) in _ = try snapshotter.mounts("base") }
        expect(.notFound) { () throws(RPCStatus) in try snapshotter.commit("n", "missing") }
        expect(.alreadyExists) { () throws(RPCStatus) in try snapshotter.commit("base", "active") }
        expect(.alreadyExists) { () throws(RPCStatus) in try snapshotter.commit("active", "active")
        }
        expect(.failedPrecondition) { () throws(RPCStatus) in try snapshotter.commit("n", "view") }
        expect(.failedPrecondition) { () throws(RPCStatus) in try snapshotter.commit("n", "base") }
        expect(.failedPrecondition) { () throws(RPCStatus) in try snapshotter.remove("base") }
        expect(.notFound) { () throws(RPCStatus) in try snapshotter.remove("missing") }
        expect(.notFound) { () throws(RPCStatus) in _ = try snapshotter.usage("missing") }
        expect(.notFound) { () throws(RPCStatus) in try snapshotter.update("missing", ["a": "b"]) }
        #expect(try snapshotter.names() == ["active", "base", "view"])
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func commitMayGiveAParent() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.prepare("early")
        try snapshotter.addLayer("base")
        try snapshotter.addLayer("other")
        try snapshotter.commit("top", "early", parent: "base")
        #expect(try snapshotter.stat("top").parent == "base")
        try snapshotter.prepare("bound", "base")
        let refusal = code { () throws(RPCStatus) in
            try snapshotter.commit("n", "bound", parent: "other")
        }
        #expect(refusal == .invalidArgument)
        try snapshotter.commit("n", "bound", parent: "base")
        #expect(
            code { () throws(RPCStatus) in try snapshotter.remove("base") } == .failedPrecondition
        )
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func updatesChangeLabelsOnly() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.prepare("key", "", ["a": "1", "b": "2"])
        let before = try snapshotter.stat("key")
        let after = try snapshotter.update(
            "key",
            ["a": "3", "c": "4"],
            mask: ["labels.a", "labels.b"]
        )
        #expect(after.labels == ["a": "3"])
        #expect(after.createdAt == before.createdAt)
        #expect(after.updatedAt != before.updatedAt)
        #expect(try snapshotter.stat("key") == after)
        #expect(try snapshotter.update("key", ["x": "y", "z": ""]).labels == ["x": "y"])
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func usageIsMeasuredOnceCommitted() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.prepare("key")
        let upper = try snapshotter.upper("key")
        let empty = try snapshotter.usage("key")
        #expect(empty.inodes == 1)
        let bytes = [UInt8](repeating: 1, count: 50_000)
        try unsafe FileSystem.replace("\(upper)/file", with: bytes.span.bytes)
        let active = try snapshotter.usage("key")
        #expect(active.inodes == 2)
        #expect(active.size >= empty.size + 50_000)
        try snapshotter.commit("name", "key")
        #expect(try snapshotter.usage("name") == active)
        snapshotter.waitUntilIdle()
        let row = try snapshotter.store.read { rows in try rows.snapshot("name") }
        #expect(row?.record.usage == active)
        #expect(try snapshotter.summary().committedBytes == active.size)
        try snapshotter.view("view", "name")
        #expect(try snapshotter.usage("view") == SnapshotUsage(inodes: 0, size: 0))
    }

    @Test func manyThreadsAndOneKeyMakeOneSnapshot() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let results = Monitor<[RPCStatus.Code: Int]>([:])
        let group = ThreadGroup()
        for _ in 0..<100 {
            try group.start(name: "prepare") {
                let result = code { () throws(RPCStatus) in try snapshotter.prepare("key") }
                results.update { $0[result ?? .ok, default: 0] += 1 }
            }
        }
        group.wait()
        #expect(results.update { $0 } == [.ok: 1, .alreadyExists: 99])
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func whatIsPreparedMeanwhileOutlivesCleanup() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let isDone = Monitor(false)
        let group = ThreadGroup()
        try group.start(name: "cleanup") {
            while !isDone.update({ $0 }) {
                try? snapshotter.cleanup(CallContext())
            }
        }
        for index in 0..<100 {
            try snapshotter.prepare("key\(index)")
            if index % 2 == 0 { try snapshotter.remove("key\(index)") }
        }
        isDone.update { $0 = true }
        group.wait()
        #expect(try snapshotter.names().count == 50)
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func cleanupTakesStraysAway() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let snapshotter = try Snapshotter(root)
        defer { snapshotter.close() }
        try snapshotter.prepare("key")
        try FileSystem.makeDirectories("\(root)/snapshots/99/fs/deep")
        try FileSystem.makeDirectories("\(root)/snapshots/new-123")
        try snapshotter.cleanup(CallContext())
        #expect(try snapshotter.disagreements() == [])
        #expect(try FileSystem.names(inDirectory: "\(root)/snapshots").count == 1)
    }

    @Test func listsThousandsOnPages() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        // Rows alone: a directory each would take longer than the list.
        let records = (1...1_234).map { index in
            SnapshotRecord(
                id: Int64(index) + 1_000,
                name: "name\(index)",
                kind: .committed,
                createdAt: 1,
                updatedAt: 1,
                labels: ["number": "\(index)"]
            )
        }
        try snapshotter.store.write("test") { rows in try rows.insertAll(records) }
        var sizes: [Int] = []
        var numbers: [String] = []
        try snapshotter.list(.all, CallContext()) { infos throws(RPCStatus) in
            sizes.append(infos.count)
            numbers += infos.compactMap { $0.labels["number"] }
        }
        #expect(numbers == (1...1_234).map(String.init))
        #expect(sizes.max() == 100)
        let cancelled = CallContext()
        let refusal = code { () throws(RPCStatus) in
            try snapshotter.list(.all, cancelled) { _ throws(RPCStatus) in cancelled.cancel() }
        }
        #expect(refusal == .cancelled)
    }

    @Test func aSecondOwnerIsToldOfTheFirst() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let first = try Snapshotter(root)
        let error = #expect(throws: SystemError.self) { _ = try Snapshotter(root) }
        #expect(error?.description.contains("\(root), which process \(getpid()) owns") == true)
        first.close()
    }
}
