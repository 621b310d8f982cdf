// SPDX-License-Identifier: Apache-2.0

import Containerd
import Testing

@Suite("Snapshot update")
struct SnapshotUpdateTests {
    private let current = ["a": "1", "b": "2"]

    private func labels(_ labels: [String: String], _ mask: [String]) throws -> [String: String] {
        try SnapshotUpdate(name: "x", labels: labels, mask: mask).labels(changing: current)
    }

    @Test(arguments: [[], ["labels"], ["labels.a", "labels"]])
    func replacesAllLabels(mask: [String]) throws {
        #expect(try labels(["c": "3"], mask) == ["c": "3"])
    }

    @Test func changesOneLabel() throws {
        #expect(try labels(["a": "9", "b": "9"], ["labels.a"]) == ["a": "9", "b": "2"])
        #expect(try labels(["x.y/z": "3"], ["labels.x.y/z"])["x.y/z"] == "3")
    }

    @Test func takesLabelsAway() throws {
        #expect(try labels([:], ["labels.a"]) == ["b": "2"])
        #expect(try labels(["a": ""], ["labels.a"]) == ["b": "2"])
        #expect(try labels(["a": ""], []) == [:])
    }

    @Test(arguments: ["name", "parent", "kind", "created_at", "", "labelsa"])
    func refusesOtherFields(path: String) {
        #expect {
            try labels([:], ["labels", path])
        } throws: { error in
            (error as? RPCStatus)?.code == .invalidArgument
        }
    }

    @Test func deadlinesAndCancellationEndACall() {
        #expect(!CallContext().isCancelled)
        let cancelled = CallContext()
        cancelled.cancel()
        #expect(cancelled.isCancelled)
        #expect(throws: RPCStatus(.cancelled, "the caller has cancelled")) {
            try cancelled.checkIsWanted()
        }
        #expect(throws: RPCStatus(.deadlineExceeded, "the deadline has passed")) {
            try CallContext(deadline: 1).checkIsWanted()
        }
    }
}
