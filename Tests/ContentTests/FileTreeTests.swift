// SPDX-License-Identifier: Apache-2.0

import Content
import Testing

@Suite("File tree")
struct FileTreeTests {
    /// /a/x, /a/y, /b/x which is /a/x, /b/c/, and a node without a name.
    private static func sample() -> FileTree {
        var tree = FileTree()
        let a = add(&tree, "a", .directory, to: FileTree.root)
        let b = add(&tree, "b", .directory, to: FileTree.root)
        let x = add(&tree, "x", .regular, to: a)
        _ = add(&tree, "y", .fifo, to: a)
        tree[b].children[FileName("x")] = x
        _ = add(&tree, "c", .directory, to: b)
        let lost = add(&tree, "lost", .regular, to: b)
        tree[b].children[FileName("lost")] = nil
        tree[lost].size = 1
        return tree
    }

    private static func add(
        _ tree: inout FileTree,
        _ name: String,
        _ type: FileType,
        to parent: FileTree.NodeID
    ) -> FileTree.NodeID {
        let attributes = FileAttributes(permissions: 0o755)
        let node = tree.add(FileTree.Node(type: type, attributes: attributes))
        tree[parent].children[FileName(name)] = node
        return node
    }

    @Test func beginsWithAnImplicitRoot() {
        let tree = FileTree()
        #expect(tree.nodeCount == 1)
        #expect(tree[FileTree.root].type == .directory)
        #expect(tree[FileTree.root].isImplicit)
        // What an entry for the directory would not have changed: 0755 root:root, time 0.
        #expect(tree[FileTree.root].attributes == FileAttributes(permissions: 0o755))
        #expect(tree.linkCounts() == [2])
    }

    @Test func walksByLevelsInOrderOfNames() {
        let tree = Self.sample()
        var paths: [String] = []
        var names: [FileTree.NodeID: String] = [:]
        tree.walkBreadthFirst { visit in
            let path = visit.name.bytes.isEmpty ? "" : "\(names[visit.parent] ?? "?")/\(visit.name)"
            names[visit.node] = names[visit.node] ?? path
            paths.append(path)
        }
        #expect(paths == ["", "/a", "/b", "/a/x", "/a/y", "/b/c", "/b/x"])
    }

    @Test func walkPassesErrorsOn() {
        let tree = Self.sample()
        var count = 0
        #expect(throws: ContentError.self) {
            try tree.walkBreadthFirst { (_) throws(ContentError) in
                count += 1
                if count == 3 { throw .corrupt("enough") }
            }
        }
        #expect(count == 3)
    }

    @Test func countsLinksAsFileSystemsDo() throws {
        let tree = Self.sample()
        var counts: [String: UInt32] = [:]
        let links = tree.linkCounts()
        tree.walkBreadthFirst { counts["\($0.name)"] = links[Int($0.node.index)] }
        #expect(counts == ["": 4, "a": 2, "b": 3, "c": 2, "x": 2, "y": 1])
        #expect(links.filter { $0 == 0 }.count == 1)
    }

    @Test func tellsPathsForMessages() {
        var tree = Self.sample()
        let a = tree[FileTree.root].children[FileName("a")]
        let odd = Self.add(&tree, "o d", .regular, to: a ?? FileTree.root)
        #expect(tree.path(of: FileTree.root) == "/")
        #expect(tree.path(of: odd) == "/a/o\\x20d")
        #expect(tree[odd].children.isEmpty)
        let nameless = tree.add(.implicitDirectory)
        #expect(tree.path(of: nameless) == "a file without a name")
    }

    @Test func mapsEveryChunk() {
        var tree = Self.sample()
        tree[FileTree.root].chunks = [ChunkAddress(blob: 1, index: 2)]
        let other = tree.add(.implicitDirectory)
        tree[other].chunks = [ChunkAddress(blob: 3, index: 4), ChunkAddress(blob: 1, index: 2)]
        tree.mapChunks { ChunkAddress(blob: $0.blob + 1, index: $0.index * 2) }
        #expect(tree[FileTree.root].chunks == [ChunkAddress(blob: 2, index: 4)])
        #expect(tree[other].chunks.map(\.blob) == [4, 2])
        #expect(tree[other].chunks.map(\.index) == [8, 4])
    }
}
