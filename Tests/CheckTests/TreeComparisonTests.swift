// SPDX-License-Identifier: Apache-2.0

import Content
import Testing

@testable import Check

@Suite("Tree comparison")
struct TreeComparisonTests {
    private typealias Change = (inout FileTree, [String: FileTree.NodeID]) -> Void

    /// A tree with one file of each kind, and the nodes by name.
    private func sample() -> (tree: FileTree, nodes: [String: FileTree.NodeID]) {
        var tree = FileTree()
        var nodes = ["/": FileTree.root]
        let kinds: [(String, FileType)] = [
            ("d", .directory), ("file", .regular), ("link", .symlink), ("null", .characterDevice),
            ("pipe", .fifo),
        ]
        for (name, type) in kinds {
            var node = FileTree.Node(type: type, attributes: FileAttributes(permissions: 0o644))
            node.target = type == .symlink ? [0x61] : []
            node.size = type == .regular ? 5000 : 0
            node.chunks =
                type == .regular
                ? [ChunkAddress(blob: 0, index: 1), ChunkAddress(blob: 0, index: 2)] : []
            node.xattrs = [ExtendedAttribute(name: Array("user.a".utf8), value: [0x31])]
            nodes[name] = tree.add(node)
            tree[FileTree.root].children[FileName(name)] = nodes[name]
        }
        tree[nodes["d"] ?? FileTree.root].children[FileName("again")] = nodes["file"]
        return (tree, nodes)
    }

    private func differences(_ change: Change) -> [String] {
        var image = sample()
        change(&image.tree, image.nodes)
        var comparison = TreeComparison(
            image: image.tree,
            source: sample().tree,
            digests: { ($0.index == 99 ? nil : self.digest($0), self.digest($1)) }
        )
        comparison.run()
        return comparison.differences
    }

    private func digest(_ address: ChunkAddress) -> Digest? {
        Digest(bytes: [UInt8](repeating: UInt8(truncatingIfNeeded: address.index), count: 32))
    }

    /// Changes one node of the image.
    private func change(_ name: String, _ body: @escaping (inout FileTree.Node) -> Void) -> [String]
    {
        differences { tree, nodes in
            if let id = nodes[name] { body(&tree[id]) }
        }
    }

    @Test func equalTreesHaveNoDifferences() {
        #expect(differences { _, _ in }.isEmpty)
        // How directories came about makes no difference, only what they are.
        #expect(change("d") { $0.isImplicit = true }.isEmpty)
    }

    @Test func everyAttributeIsCompared() {
        #expect(
            change("pipe") { $0.attributes.permissions = 0o4755 }
                == ["/pipe: mode is 0o4755, in the source 0o644"]
        )
        #expect(
            change("pipe") { $0.attributes.userID = 7 } == [
                "/pipe: owner is 7:0, in the source 0:0"
            ]
        )
        #expect(
            change("pipe") { $0.attributes.groupID = 8 } == [
                "/pipe: owner is 0:8, in the source 0:0"
            ]
        )
        #expect(
            change("d") { $0.attributes.modificationSeconds = -2 }
                == ["/d: mtime is -2.000000000, in the source 0.000000000"]
        )
        #expect(
            change("/") { $0.attributes.modificationNanoseconds = 1 }
                == ["/: mtime is 0.000000001, in the source 0.000000000"]
        )
        #expect(
            change("link") { $0.target = [0x20] } == ["/link: target is \\x20, in the source a"]
        )
        #expect(
            change("null") { $0.device = DeviceNumber(major: 1, minor: 3) }
                == ["/null: device is 1:3, in the source 0:0"]
        )
        #expect(
            change("pipe") { $0.type = .socket } == ["/pipe: type is socket, in the source fifo"]
        )
    }

    @Test func extendedAttributesAreComparedByName() {
        #expect(
            change("pipe") { $0.xattrs = [] } == ["/pipe: xattr user.a is not set, in the source 1"]
        )
        #expect(
            change("pipe") { $0.xattrs[0].value = [0] } == [
                "/pipe: xattr user.a is \\x00, in the source 1"
            ]
        )
        #expect(
            change("pipe") { $0.xattrs[0].name = Array("user.b".utf8) }
                == [
                    "/pipe: xattr user.a is not set, in the source 1",
                    "/pipe: xattr user.b is 1, in the source not set",
                ]
        )
    }

    @Test func contentsAreComparedByTheirChunks() throws {
        let one = try #require(digest(ChunkAddress(blob: 0, index: 7)))
        let two = try #require(digest(ChunkAddress(blob: 0, index: 2)))
        // A file with two names is compared once, under the first that is met.
        #expect(change("file") { $0.size = 5001 } == ["/d/again: size is 5001, in the source 5000"])
        #expect(
            change("file") { $0.chunks[1].index = 7 }
                == ["/d/again: content of chunk 1 is \(one.hex), in the source \(two.hex)"]
        )
        #expect(
            change("file") { $0.chunks[1].index = 99 }
                == ["/d/again: content of chunk 1 is unknown, in the source \(two.hex)"]
        )
        #expect(
            change("file") { $0.chunks.removeLast() }
                == ["/d/again: number of chunks is 1, in the source 2"]
        )
        #expect(change("file") { $0.chunks[1].blob = 3 }.isEmpty)
    }

    @Test func namesAreCompared() {
        #expect(
            differences { tree, _ in tree[FileTree.root].children[FileName("pipe")] = nil }
                == ["/pipe: missing from the image"]
        )
        #expect(
            differences { tree, nodes in
                tree[FileTree.root].children[FileName("o d")] = nodes["pipe"]
            } == ["/o\\x20d: not in the source"]
        )
        #expect(
            differences { tree, nodes in tree[nodes["d"] ?? FileTree.root].children = [:] }
                == ["/d/again: missing from the image"]
        )
    }

    @Test func hardLinksMustBeTheSame() {
        #expect(
            differences { tree, nodes in
                guard let file = nodes["file"] else { return }
                let copy = tree.add(tree[file])
                tree[FileTree.root].children[FileName("file")] = copy
            } == ["/file: linked with other names than in the source"]
        )
        #expect(
            differences { tree, nodes in
                tree[FileTree.root].children[FileName("pipe")] = nodes["null"]
            } == ["/pipe: linked with other names than in the source"]
        )
    }
}
