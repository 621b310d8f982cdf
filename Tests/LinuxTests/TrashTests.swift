// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import TestSupport
import Testing

private func makeDirectory(_ path: String) { _ = unsafe mkdir(path, 0o755) }

private func isThere(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

/// Makes directories one in another, deeper than a path can name; `bottom` is in the last.
private func makeDeep(_ path: String, levels: Int) throws {
    var directory = try OpenDirectory(path)
    let name = Array("level".utf8)
    for _ in 0..<levels {
        try directory.makeDirectory(name)
        directory = try directory.directory(name)
    }
    _ = try directory.makeFile(Array("bottom".utf8))
}

@Suite("Trash")
struct TrashTests {
    private func empty(_ path: String) throws -> [SystemError] {
        try Trash.empty(path) { true }
    }

    @Test func everythingGoesAndNothingElse() throws {
        let directory = TemporaryDirectory()
        let trash = "\(directory.path)/trash"
        makeDirectory(trash)
        makeDirectory("\(directory.path)/kept")
        directory.write("kept/file", [1])
        for name in ["a", "a/b", "a/b/c", "d"] { makeDirectory("\(trash)/\(name)") }
        for index in 0..<2_000 { directory.write("trash/a/b/file\(index)", []) }
        directory.write("trash/top", [1])
        try FileSystem.makeSymbolicLink(to: "\(directory.path)/kept", named: "\(trash)/d/link")
        try FileSystem.makeHardLink(
            to: "\(directory.path)/kept/file",
            named: "\(trash)/d/hard"
        )
        #expect(try empty(trash).isEmpty)
        #expect(try FileSystem.names(inDirectory: trash).isEmpty)
        #expect(directory.read("kept/file") == [1])
    }

    @Test func depthCostsNoDescriptors() throws {
        let directory = TemporaryDirectory()
        try makeDeep(directory.path, levels: 3_000)
        #expect(try empty(directory.path).isEmpty)
        #expect(try FileSystem.names(inDirectory: directory.path).isEmpty)
    }

    @Test func endsWhenAskedTo() throws {
        let directory = TemporaryDirectory()
        for index in 0..<100 { directory.write("file\(index)", []) }
        var asked = 0
        let reasons = try Trash.empty(directory.path) {
            asked += 1
            return asked < 20
        }
        #expect(reasons.isEmpty)
        #expect(try FileSystem.names(inDirectory: directory.path).count > 50)
    }

    @Test(.enabled(if: getuid() == 0, "mounting needs root"))
    func mountsAreKeptAndNamed() throws {
        let directory = TemporaryDirectory()
        let trash = "\(directory.path)/trash"
        for name in ["", "/a", "/a/mount", "/b"] { makeDirectory(trash + name) }
        directory.write("trash/a/file", [])
        try mountFileSystem(
            source: "test",
            at: "\(trash)/a/mount",
            type: "tmpfs",
            restrictions: [],
            options: "size=64k"
        )
        directory.write("trash/a/mount/precious", [7])
        let reasons = try empty(trash)
        #expect(
            reasons.map(\.description) == [
                "delete a mount at \(trash)/a/mount: Invalid cross-device link"
            ]
        )
        #expect(directory.read("trash/a/mount/precious") == [7])
        #expect(!isThere("\(trash)/a/file"))
        #expect(!isThere("\(trash)/b"))
        try unmountFileSystem(at: "\(trash)/a/mount", lazily: false)
        #expect(try empty(trash).isEmpty)
        #expect(!isThere("\(trash)/a"))
    }
}

@Suite("Disk usage")
struct DiskUsageTests {
    @Test func countsAsDuDoes() throws {
        let directory = TemporaryDirectory()
        makeDirectory("\(directory.path)/sub")
        directory.write("big", [UInt8](repeating: 1, count: 100_000))
        directory.write("sub/small", [1])
        try FileSystem.makeHardLink(
            to: "\(directory.path)/big",
            named: "\(directory.path)/sub/again"
        )
        try FileSystem.makeSymbolicLink(to: "/usr", named: "\(directory.path)/link")
        let hole = try FileSystem.create("\(directory.path)/hole")
        try hole.truncate(to: 1 << 30, "hole")
        let usage = try DiskUsage(ofDirectory: directory.path)
        // The directory, sub, big, small, link, hole.
        #expect(usage.inodeCount == 6)
        var expected: UInt64 = 0
        for name in ["", "/sub", "/big", "/sub/small", "/hole"] {
            expected += try FileStatus(path: directory.path + name).allocatedBytes
        }
        #expect(usage.byteCount == expected)
        #expect(usage.byteCount > 100_000)
    }

    @Test func whatIsMissingIsAnError() {
        #expect(throws: SystemError.self) { _ = try DiskUsage(ofDirectory: "/no/such/place") }
    }
}
