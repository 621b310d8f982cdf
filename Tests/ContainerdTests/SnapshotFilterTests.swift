// SPDX-License-Identifier: Apache-2.0

import Containerd
import Testing

@Suite("Snapshot filter")
struct SnapshotFilterTests {
    private let layer = SnapshotInfo(
        name: "default/1/sha256:abc",
        parent: "default/0/base",
        kind: .committed,
        labels: ["containerd.io/snapshot.ref": "sha256:abc", "a.b": "x y", "é": "1"],
        createdAt: .init(seconds: 0, nanoseconds: 0),
        updatedAt: .init(seconds: 0, nanoseconds: 0)
    )

    private func finds(_ filters: String...) throws -> Bool {
        try SnapshotFilter(parsing: filters).matches(layer)
    }

    @Test func nothingAsksForEverything() throws {
        #expect(SnapshotFilter.all.matches(layer))
        #expect(try SnapshotFilter(parsing: []).matches(layer))
        #expect(try finds("name==other", ""))
    }

    @Test(arguments: [
        "name==default/1/sha256:abc", "kind==committed", "kind", "parent", "parent != other",
        // What containerd sends after ErrAlreadyExists.
        #"labels."containerd.io/snapshot.ref"==sha256:abc,parent=="default/0/base""#,
        "labels.a.b==\"x y\"", #"labels."a.b""#, "name.more==default/1/sha256:abc",
        "name~=sha256:[a-c]+$", "name~=/^default\\/1/", "name~=|ab{1}c$|",
        "name~=\"^default/\\\\d/\"", "labels.absent!=x", "labels.absent~=^$",
        #"labels."\u00e9"==1"#, #"labels."\xc3\xa9"=="\061""#, "nothing!=x",
    ])
    func matches(filter: String) throws {
        #expect(try finds(filter))
    }

    @Test(arguments: [
        "name==x", "kind==active", "kind!=committed", "labels", "labels.absent",
        "labels.absent==\"\"", "nothing", "nothing==\"\"", "name~=^abc",
        "kind==committed,name==x", "labels.\"e\u{301}\"==2",
    ])
    func doesNotMatch(filter: String) throws {
        #expect(try !finds(filter))
    }

    @Test func oneOfSeveralFiltersIsEnough() throws {
        #expect(try finds("kind==active", "kind==committed"))
        #expect(try !finds("kind==active", "kind==view"))
    }

    @Test(arguments: [
        ",", "name,", "name==", "name=x", "name===x", "name=!x", "==x", "name==x y", "name..x",
        "name==x,,kind", "name==\"x", "name==\"x\n\"", "name==\"\\q\"", "name==\"\\x1\"",
        "name==\"\\400\"", "name==\"\\ud800\"", "name==\"\\U00110000\"", "name==\"\\UFFFFFFFF\"",
        "name==\"\\xff\"", "name==/x/", "name==|x|", "/name/==x", "name == x ",
        "name~=(", "name~=/x", "name~=\\C{2}\\1", "name~=\"((a{100}){100}){100}\"", "name\0==x",
        "name==.x", "\"name", "-", " ", "labels.é",
    ])
    func refuses(filter: String) {
        #expect {
            try SnapshotFilter(parsing: [filter])
        } throws: { error in
            (error as? RPCStatus)?.code == .invalidArgument
        }
    }

    @Test func saysWhereAFilterIsWrong() {
        let message = "filter 'name=x', byte 4: expected an operator: ==, != or ~="
        #expect(throws: RPCStatus(.invalidArgument, message)) {
            try SnapshotFilter(parsing: ["name=x"])
        }
    }

    @Test func boundsWhatIsAsked() throws {
        let many = [String](repeating: "kind", count: 257)
        #expect(throws: RPCStatus.self) { try SnapshotFilter(parsing: many) }
        #expect(throws: RPCStatus.self) {
            try SnapshotFilter(parsing: [many.joined(separator: ",")])
        }
        let long = String(repeating: "x", count: 65 << 10)
        #expect(throws: RPCStatus.self) { try SnapshotFilter(parsing: ["name==\(long)"]) }
        #expect(try SnapshotFilter(parsing: Array(many.dropFirst())).matches(layer))
    }

    /// A backtracking matcher would not come back from this one.
    @Test func hostilePatternsTakeLinearTime() throws {
        var snapshot = layer
        snapshot.name = String(repeating: "a", count: 50_000) + "!"
        let filter = try SnapshotFilter(parsing: ["name~=^(a+)+$", "name~=(a|aa)+b"])
        #expect(!filter.matches(snapshot))
    }

    @Test func noTruncatedFilterTraps() {
        let text = #"labels."containerd.io/\u00e9\x41\101"~=/^sha\n/,parent=="x",kind!=view"#
        for count in 0...text.utf8.count {
            let part = String(decoding: Array(text.utf8).prefix(count), as: UTF8.self)
            _ = try? SnapshotFilter(parsing: [part])
        }
    }
}
