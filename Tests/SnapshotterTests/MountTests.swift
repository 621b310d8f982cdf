// SPDX-License-Identifier: Apache-2.0

import Containerd
import Glibc
import Linux
import Log
import TestSupport
import Testing

@testable import Snapshotter

/// Mounts as containerd does; the options that are flags are few here.
private func attach(_ mount: MountSpec, at path: String) throws(SystemError) {
    var flags: UInt = 0
    var data: [String] = []
    for option in mount.options {
        switch option {
        case "ro": flags |= UInt(MS_RDONLY)
        case "rbind": flags |= UInt(MS_BIND) | UInt(MS_REC)
        case "rw": continue
        default: data.append(option)
        }
    }
    let text = data.joined(separator: ",")
    try retryingOnInterrupt("mount", path) {
        unsafe text.withCString { text in
            unsafe Glibc.mount(mount.source, path, mount.type, flags, text)
        }
    }
    // The kernel makes a bind read-only in a second step.
    guard flags & UInt(MS_BIND) != 0, flags & UInt(MS_RDONLY) != 0 else { return }
    try retryingOnInterrupt("mount", path) {
        unsafe Glibc.mount("", path, "", flags | UInt(MS_REMOUNT), nil)
    }
}

@Suite("Snapshot mounts")
struct MountTests {
    @Test func writableSnapshotsWithoutParentAreBound() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let mounts = try snapshotter.prepare("key")
        let upper = try snapshotter.upper("key")
        #expect(mounts == [MountSpec(type: "bind", source: upper, options: ["rw", "rbind"])])
        #expect(try snapshotter.mounts("key") == mounts)
        let view = try snapshotter.view("view")
        #expect(view[0].options == ["ro", "rbind"])
        #expect(try FileStatus(path: upper).mode & 0o7777 == 0o755)
        #expect(try FileStatus(path: "\(upper)/../work").mode & 0o7777 == 0o711)
        #expect(try FileStatus(path: "\(upper)/..").mode & 0o7777 == 0o700)
    }

    @Test func aViewOfOneLayerIsThatLayer() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.addLayer("a")
        let view = try snapshotter.view("view", "a")
        let lower = try snapshotter.upper("a")
        #expect(view == [MountSpec(type: "bind", source: lower, options: ["ro", "rbind"])])
    }

    @Test func chainsAreOverlaysFromTheTopDown() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let snapshotter = try Snapshotter(
            root: root,
            mountOptions: ["volatile"],
            logger: .init(level: .error)
        )
        defer { snapshotter.close() }
        try snapshotter.addLayer("a")
        try snapshotter.addLayer("b", "a")
        let mounts = try snapshotter.prepare("key", "b")
        let lowers = "\(root)/snapshots/2/fs:\(root)/snapshots/1/fs"
        #expect(
            mounts[0].options.prefix(4) == [
                "workdir=\(root)/snapshots/3/work",
                "upperdir=\(root)/snapshots/3/fs",
                "lowerdir=\(lowers)",
                "volatile",
            ]
        )
        let hasIndex = (try? FileStatus(path: "/sys/module/overlay/parameters/index")) != nil
        #expect(mounts[0].options.contains("index=off") == hasIndex)
        #expect(mounts.map(\.type) == ["overlay"])
        #expect(try snapshotter.mounts("key") == mounts)
        let view = try snapshotter.view("view", "b")
        #expect(view[0].options.first == "lowerdir=\(lowers)")
    }

    @Test func whatContainerdHasGivenToAUserNamespaceIsNotMappedAgain() throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let snapshotter = try Snapshotter(root)
        defer { snapshotter.close() }
        let user = getuid() == 0 ? 100_000 : getuid()
        let group = getuid() == 0 ? 100_000 : getgid()
        let labels = [
            SnapshotLabels.userMapping: "0:\(user):65536",
            SnapshotLabels.groupMapping: "0:\(group):65536",
        ]
        let made = try snapshotter.prepare("base-remap", "")
        let upper = made[0].source
        #expect(unsafe chown(upper, user, group) == 0)
        _ = try snapshotter.commit("given", "base-remap")
        let mounts = try snapshotter.prepare("mapped", "given", labels)
        #expect(!mounts[0].options.contains { $0.contains("idmap=") })
        // Another namespace's are mapped.
        let others = [
            SnapshotLabels.userMapping: "0:200000:65536",
            SnapshotLabels.groupMapping: "0:200000:65536",
        ]
        if getuid() == 0 {
            let mounts = try snapshotter.prepare("other", "given", others)
            #expect(mounts[0].options.contains { $0.contains("uidmap=0:200000") })
        }
    }

    @Test func userNamespacesAreMapped() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        let labels = [
            SnapshotLabels.userMapping: "0:\(getuid()):1,1:100001:65535",
            SnapshotLabels.groupMapping: "0:\(getgid()):1",
        ]
        let mounts = try snapshotter.prepare("key", "", labels)
        #expect(
            mounts[0].options == [
                "uidmap=0:\(getuid()):1,1:100001:65535", "gidmap=0:\(getgid()):1", "rw", "rbind",
            ]
        )
        for wrong in [
            "x", "0:1", "0:1:2:3", "1:0:10", "0:4294967295:1", "0:-1:1", "0:0:1,", "0:0:0",
        ] {
            let refusal = code { () throws(RPCStatus) in
                try snapshotter.prepare("wrong", "", [SnapshotLabels.userMapping: wrong])
            }
            #expect(refusal == .invalidArgument, "\(wrong)")
        }
        #expect(try snapshotter.disagreements() == [])
    }

    @Test(.enabled(if: getuid() == 0, "changing owners needs root"))
    func theRootBelongsToWhomItDidBelow() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.prepare(
            "key",
            "",
            [
                SnapshotLabels.userMapping: "0:100000:65536",
                SnapshotLabels.groupMapping: "0:200000:65536",
            ]
        )
        try snapshotter.commit("base", "key")
        try snapshotter.prepare("child", "base")
        let status = try FileStatus(path: snapshotter.upper("child"))
        #expect(status.userID == 100_000)
        #expect(status.groupID == 200_000)
    }

    @Test(.enabled(if: getuid() == 0, "mounting needs root"))
    func whatIsWrittenThroughAMountIsInTheLayer() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root")
        defer { snapshotter.close() }
        try snapshotter.addLayer("a")
        try snapshotter.addLayer("b", "a")
        let place = "\(directory.path)/mount"
        try FileSystem.makeDirectories(place)
        try attach(snapshotter.prepare("key", "b")[0], at: place)
        #expect(directory.read("mount/a") == Array("a".utf8))
        directory.write("mount/b", [1])
        try FileSystem.removeFile("\(place)/a")
        try unmountFileSystem(at: place, lazily: false)
        try snapshotter.commit("c", "key")
        try attach(snapshotter.view("view", "c")[0], at: place)
        #expect(try FileSystem.names(inDirectory: place) == ["b"])
        #expect(directory.read("mount/b") == [1])
        let refusal = #expect(throws: SystemError.self) {
            _ = try FileSystem.create("\(place)/new")
        }
        #expect(refusal?.code == EROFS)
        try unmountFileSystem(at: place, lazily: false)
        try attach(snapshotter.view("single", "a")[0], at: place)
        #expect(throws: SystemError.self) { _ = try FileSystem.create("\(place)/new") }
        try unmountFileSystem(at: place, lazily: false)
    }
}
