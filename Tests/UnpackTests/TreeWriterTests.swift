// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import RAFS
import TestSupport
import Testing

@testable import Unpack

@Suite("Tree writer", .enabled(if: CurrentProcess.isRoot, "only root sets owners"))
final class TreeWriterTests {
    private let directory = TemporaryDirectory()
    private var target: String { directory.path + "/target" }

    private func node(_ type: FileType, permissions: UInt16 = 0o640) -> FileTree.Node {
        FileTree.Node(
            type: type,
            attributes: FileAttributes(
                permissions: permissions,
                userID: 7,
                groupID: 8,
                modificationSeconds: 1_000_000_000,
                modificationNanoseconds: 5
            )
        )
    }

    /// Lays the tree out, whose files are empty.
    private func write(_ tree: FileTree, stop: StopSign = StopSign()) throws {
        let bootstrap = try BootstrapWriter(
            tree: FileTree(),
            blobs: [],
            chunkSize: 4096,
            flags: BootstrapWriter.flags(.zstd, blobs: [])
        ).write { _ in nil }
        let metadata = try ImageMetadata(
            bootstrap: bootstrap,
            chunkInfo: { _ in nil },
            chunkDigests: { _ in nil },
            blobSource: { _ in throw ContentError(.notFound, "no blobs here") },
            metadataBlob: { _ in [] }
        )
        let writers = ContentWriters(metadata: metadata, blobs: [], stop: stop)
        try writers.start(threads: 1)
        var writer = TreeWriter(tree, writers, stop)
        let root = try FileSystem.makeOrTakeEmptyDirectory(target)
        try writer.write(into: root)
        try writers.finish()
    }

    @Test func attributesAreThoseOfTheNodes() throws {
        var tree = FileTree()
        var device = node(.characterDevice)
        device.device = DeviceNumber(major: 1, minor: 300)
        for (name, node) in [
            ("file", node(.regular, permissions: 0o6755)), ("directory", node(.directory)),
            ("device", device), ("pipe", node(.fifo)), ("socket", node(.socket)),
        ] {
            tree[FileTree.root].children[FileName(name)] = tree.add(node)
        }
        try write(tree)
        for (name, mode) in [
            ("file", 0o106_755), ("directory", 0o040_640), ("device", 0o020_640),
            ("pipe", 0o010_640), ("socket", 0o140_640),
        ] {
            #expect(try FileStatus(path: "\(target)/\(name)").mode == UInt32(mode), "\(name)")
        }
    }

    @Test func hardLinksAreOneFileWhereverTheyAre() throws {
        var tree = FileTree()
        let file = tree.add(node(.regular))
        var inner = tree.add(node(.directory))
        tree[FileTree.root].children[FileName("a")] = inner
        for _ in 0..<20 {
            let next = tree.add(node(.directory))
            tree[inner].children[FileName("a")] = next
            inner = next
        }
        tree[inner].children[FileName("deep")] = file
        tree[FileTree.root].children[FileName("z")] = file
        try write(tree)
        let deep = target + String(repeating: "/a", count: 21) + "/deep"
        let inodes = try [deep, target + "/z"].map { try FileStatus(path: $0).inode }
        #expect(inodes[0] == inodes[1])
    }

    /// Nothing but the tree is in the target; but if it were, it would not be followed.
    @Test func nothingIsFollowed() throws {
        let outside = directory.path + "/outside"
        try FileSystem.makeDirectories(outside)
        let root = try FileSystem.makeOrTakeEmptyDirectory(target)
        let name = Array("trap".utf8)
        try root.makeSymbolicLink(name, to: Array(outside.utf8))
        #expect(throws: SystemError.self) { _ = try root.makeFile(name) }
        #expect(throws: SystemError.self) { try root.makeDirectory(name) }
        #expect(throws: SystemError.self) { _ = try root.directory(name) }
        #expect(throws: SystemError.self) { try root.makeNode(name, type: 0o010_000) }
        try root.entry(name).setOwner(user: 9, group: 9)
        #expect(try FileSystem.names(inDirectory: outside).isEmpty)
        #expect(throws: SystemError.self) {
            _ = try FileSystem.makeOrTakeEmptyDirectory(target)
        }
    }

    @Test func aRaisedSignEndsTheWork() throws {
        let stop = StopSign()
        stop.raise()
        var tree = FileTree()
        tree[FileTree.root].children[FileName("file")] = tree.add(node(.regular))
        let error = #expect(throws: ContentError.self) { try write(tree, stop: stop) }
        #expect(error?.message == "interrupted")
    }
}
