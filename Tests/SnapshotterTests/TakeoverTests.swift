// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Glibc
import Linux
import Synchronization
import TestSupport
import Testing

@testable import Snapshotter

/// What a service does with the mounts of the one before it.
@Suite("Takeover of mounts")
struct TakeoverTests {
    private let image = MemoryImage()

    private func records(_ root: String) throws -> [String] {
        try FileSystem.names(inDirectory: "\(root)/sessions").sorted()
    }

    /// A root whose service has ended with the image mounted.
    private func leave(_ root: String) throws {
        let mounter = CountingMounter(image)
        mounter.counts.withLock { $0.outlives = true }
        let snapshotter = try Snapshotter(root, mounter)
        _ = snapshotter.provideAll(image)
        _ = try snapshotter.prepare("container", image.chain[2].oci)
        #expect(try records(root) == ["mount-1.json"])
        snapshotter.close()
        // It stays for the next one.
        #expect(mounter.now.unmounts == [])
        #expect(try records(root) == ["mount-1.json"])
    }

    private func successor(
        _ root: String,
        left: [String: Bool],
        failures: [SystemError] = []
    ) throws -> (Snapshotter, CountingMounter) {
        let mounter = CountingMounter(image)
        mounter.fail(ContentError(.inputOutput, "registry is down"))
        mounter.counts.withLock {
            $0.outlives = true
            $0.left = left
            $0.takeoverFailures = failures
        }
        return (try Snapshotter(root, mounter), mounter)
    }

    @Test func aMountIsTakenOverWithoutTheRegistry() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let (snapshotter, mounter) = try successor(root, left: ["mount-1": true])
        defer { snapshotter.close() }
        #expect(mounter.now.takeovers == ["\(root)/mounts/\(image.digest.hex)"])
        #expect(mounter.now.ends == 1)
        _ = try snapshotter.mounts("container")
        _ = try snapshotter.prepare("other", image.chain[2].oci)
        #expect(mounter.now.mounts == [])
        #expect(try records(root) == ["mount-1.json"])
    }

    @Test func withoutItsDescriptorAMountIsMadeAnew() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let (snapshotter, mounter) = try successor(root, left: [:])
        defer { snapshotter.close() }
        #expect(mounter.now.takeovers == [])
        #expect(try records(root) == [])
        _ = try snapshotter.mounts("container")
        #expect(mounter.now.mounts.count == 1)
    }

    @Test func oneOutOfSightIsServedUntilItsLastUserEnds() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let (snapshotter, mounter) = try successor(root, left: ["mount-1": false])
        defer { snapshotter.close() }
        #expect(mounter.now.unmounts.count == 1)
        #expect(try records(root) == ["mount-1.json"])
        for ended in mounter.now.ended { ended() }
        #expect(try records(root) == [])
        _ = try snapshotter.mounts("container")
        #expect(mounter.now.mounts.count == 1)
    }

    @Test func whatRunsOutForAMomentCostsNoMount() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let (snapshotter, mounter) = try successor(
            root,
            left: ["mount-1": true],
            failures: [
                SystemError("dup", "/dev/fuse", code: EMFILE),
                SystemError("mmap", "memory", code: ENOMEM),
            ]
        )
        defer { snapshotter.close() }
        #expect(mounter.now.takeovers.count == 1)
        #expect(try records(root) == ["mount-1.json"])
    }

    @Test func whatStaysShortStopsTheStartAndCostsNoMount() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let shortage = SystemError("dup", "/dev/fuse", code: EMFILE)
        let mounter = CountingMounter(image)
        mounter.counts.withLock {
            $0.left = ["mount-1": true]
            $0.takeoverFailures = Array(repeating: shortage, count: 1000)
        }
        #expect(throws: SystemError.self) { try Snapshotter(root, mounter) }
        #expect(mounter.now.ends == 0)
        #expect(mounter.now.unmounts == [])
        #expect(try records(root) == ["mount-1.json"])
        // Another process has more.
        let (snapshotter, successor) = try successor(root, left: ["mount-1": true])
        defer { snapshotter.close() }
        #expect(successor.now.takeovers.count == 1)
    }

    @Test func whatFailsForGoodIsGivenUp() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let (snapshotter, mounter) = try successor(
            root,
            left: ["mount-1": true],
            failures: [SystemError("take over", "/dev/fuse", code: EPROTO)]
        )
        defer { snapshotter.close() }
        #expect(mounter.now.takeovers == [])
        #expect(mounter.now.ends == 1)
        #expect(try records(root) == [])
    }

    @Test func aMountOfAnotherTreeIsNotTakenOver() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let path = "\(root)/sessions/mount-1.json"
        let text = String(decoding: try FileSystem.contents(of: path), as: UTF8.self)
        let manifest = "\"manifest\":\"\(image.digest.oci)\""
        let other = "\"manifest\":\"sha256:\(String(repeating: "0", count: 64))\""
        let changed = Array(text.replacing(manifest, with: other).utf8)
        #expect(changed != Array(text.utf8))
        try unsafe FileSystem.replace(path, with: changed.span.bytes)
        let (snapshotter, mounter) = try successor(root, left: ["mount-1": true])
        defer { snapshotter.close() }
        #expect(mounter.now.takeovers == [])
        #expect(try records(root) == [])
    }

    /// The start ends with that, as with what stays short.
    @Test func recordsThatCannotBeListedAreNotNone() throws {
        let directory = TemporaryDirectory()
        #expect(throws: SystemError.self) { try MountRecords("\(directory.path)/none").names() }
    }

    @Test func whatIsWrongWithARecordStopsNothing() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        try leave(root)
        let path = "\(root)/sessions/mount-1.json"
        let text = String(decoding: try FileSystem.contents(of: path), as: UTF8.self)
        let wrong = [
            "", "{", "[]", text.replacing("\"version\":1", with: "\"version\":2"),
            text.replacing("01ab", with: "01a"), text.replacing("01ab", with: "01 +"),
            text.replacing("sha256:", with: "sha1:"), text.replacing("mount-1", with: "mount-2"),
            text.replacing("\"device\":7", with: "\"device\":-7"),
            text.replacing("\"device\":7", with: "\"device\":7,\"layers\":0"),
            text.replacing("\"boot\":\"", with: "\"boot\":\"0"),
            text.replacing("\"reference\":\"", with: "\"reference\":\" "),
        ]
        #expect(Set(wrong + [text]).count == wrong.count + 1)
        for content in wrong {
            let bytes = Array(content.utf8)
            try unsafe FileSystem.replace(path, with: bytes.span.bytes)
            let (snapshotter, mounter) = try successor(root, left: ["mount-1": true])
            #expect(mounter.now.takeovers == [], "\(content)")
            #expect(try records(root) == [], "\(content)")
            snapshotter.close()
        }
    }

    @Test func aRecordIsReadAsItWasWritten() throws {
        var record = MountRecord(
            image: image.digest,
            layers: nil,
            reference: "registry.test/app@\(image.digest.oci)",
            path: "/root/mounts/x",
            continuation: MountContinuation(name: "m", device: 1 << 40, initRequest: [0, 255])
        )
        #expect(try MountRecord(record.bytes, path: "f") == record)
        record.layers = 3
        record.manifest = .zero
        #expect(try MountRecord(record.bytes, path: "f") == record)
        #expect(record.isOfThisBoot)
        record.boot = "00"
        #expect(!record.isOfThisBoot)
    }
}
