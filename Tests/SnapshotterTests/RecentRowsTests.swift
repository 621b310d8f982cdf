// SPDX-License-Identifier: Apache-2.0

import Containerd
import Linux
import Synchronization
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Rows in memory")
struct RecentRowsTests {
    private func row(_ id: Int64, _ name: String, label: String = "") -> NamedRecord {
        let record = SnapshotRecord(
            id: id,
            name: name,
            kind: .active,
            createdAt: 0,
            updatedAt: 0,
            labels: ["l": label]
        )
        return NamedRecord(record: record, parent: "")
    }

    private func changes(_ rows: NamedRecord...) -> RowChanges {
        let changes = RowChanges()
        for row in rows { changes.note(row) }
        return changes
    }

    @Test func whatWasWrittenIsHereUnderItsNewName() {
        let recent = RecentRows()
        for name in ["key", "name"] {
            let change = changes(row(1, name))
            recent.begin(change)
            recent.end(change)
        }
        #expect(recent.find("key").0 == nil)
        #expect(recent.find("name").0 == row(1, "name"))
        let removal = RowChanges()
        removal.noteRemoval(of: 1)
        recent.begin(removal)
        recent.end(removal)
        #expect(recent.find("name").0 == nil)
    }

    @Test func whatAChangeIsAboutIsNotHereMeanwhile() {
        let recent = RecentRows()
        recent.keep(row(1, "a", label: "old"), recent.find("a").1)
        recent.keep(row(2, "b"), recent.find("b").1)
        let change = changes(row(1, "a", label: "new"))
        recent.begin(change)
        #expect(recent.find("a").0 == nil)
        #expect(recent.find("b").0 == row(2, "b"))
        // Nobody knows whether it was committed.
        recent.end(nil)
        #expect(recent.find("a").0 == nil)
    }

    @Test func whatWasReadBeforeAChangeIsNotKept() {
        let recent = RecentRows()
        let old = row(1, "a", label: "old")
        let before = recent.find("a").1
        let change = changes(row(1, "a", label: "new"))
        recent.begin(change)
        let during = recent.find("a").1
        recent.keep(old, before)
        recent.keep(old, during)
        #expect(recent.find("a").0 == nil)
        recent.end(change)
        recent.keep(old, before)
        recent.keep(old, during)
        #expect(recent.find("a").0 == row(1, "a", label: "new"))
    }

    @Test func fewAreKeptAndNoneWithLongLabels() {
        let recent = RecentRows()
        let text = String(repeating: "x", count: 17 << 10)
        recent.keep(row(1, "long", label: text), recent.find("").1)
        #expect(recent.find("long").0 == nil)
        for id in Int64(1)...10_000 { recent.keep(row(id, "\(id)"), recent.find("").1) }
        let kept = (1...10_000).count { recent.find("\($0)").0 != nil }
        #expect((1...256).contains(kept))
    }

    /// Whatever is done, in whatever order: what is answered from memory is what is stored.
    @Test(arguments: 0..<4)
    func memoryAgreesWithTheDatabase(seed: UInt64) throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let names = (0..<6).map { "n\($0)" }
        var state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        var done = 0
        for step in 0..<150 {
            let (name, other) = (names[random(6)], names[random(6)])
            do throws(RPCStatus) {
                switch random(6) {
                case 0, 1: try snapshotter.prepare(name, random(2) == 0 ? "" : other)
                case 2: try snapshotter.commit(name, other, ["step": "\(step)"])
                case 3: try snapshotter.remove(name)
                case 4:
                    let update = try SnapshotUpdate(name: name, labels: ["u": "\(step)"], mask: [])
                    _ = try snapshotter.update(update, CallContext())
                default: if step % 10 == 0 { snapshotter.waitUntilIdle() }
                }
                done += 1
            } catch {
                // Refused; that must not be remembered, either.
            }
            for name in names {
                let stored = try snapshotter.store.read { rows in try rows.snapshot(name) }
                #expect(try snapshotter.store.snapshot(name) == stored)
            }
        }
        #expect(done > 30)
    }

    /// Who was told that a change is done sees it, while others read and change.
    @Test func aChangeIsSeenOnceItIsDone() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let keys = (0..<3).map { "key\($0)" }
        for key in keys { try snapshotter.prepare(key) }
        let wrong = Atomic(0)
        let threads = ThreadGroup()
        for (index, key) in keys.enumerated() {
            try threads.start(name: "writer") {
                for turn in 0..<100 {
                    let value = "\(index).\(turn)"
                    try? snapshotter.store.write("test") { rows in
                        var row = try rows.existing(key)
                        row.record.labels = ["turn": value]
                        try rows.replace(row)
                    }
                    let labels = (try? snapshotter.stat(key))?.labels
                    if labels != ["turn": value] { wrong.add(1, ordering: .relaxed) }
                }
            }
            try threads.start(name: "reader") {
                var last = -1
                for _ in 0..<2_000 {
                    let text = (try? snapshotter.stat(key))?.labels["turn"] ?? "0.-1"
                    let turn = text.split(separator: ".").last.flatMap { Int($0) } ?? -1
                    if turn < last { wrong.add(1, ordering: .relaxed) }
                    last = turn
                }
            }
        }
        threads.wait()
        #expect(wrong.load(ordering: .relaxed) == 0)
    }
}
