// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import TestSupport
import Testing

@testable import Convert

@Suite("Prefetch list")
struct PrefetchListTests {
    private func list(_ text: String) throws -> PrefetchList {
        try PrefetchList(parsing: Array(text.utf8), document: "list")
    }

    /// Files of these chunks, below the directories `a` and `a/sub`; a link leads to the former.
    private func tree() -> FileTree {
        var tree = FileTree()
        let directory = tree.add(.implicitDirectory)
        let sub = tree.add(.implicitDirectory)
        tree[FileTree.root].children[FileName("a")] = directory
        tree[directory].children[FileName("sub")] = sub
        var link = FileTree.Node(type: .symlink, attributes: .implicitDirectory)
        link.target = Array("a/./sub/..".utf8)
        let linkNode = tree.add(link)
        tree[FileTree.root].children[FileName("link")] = linkNode
        for (parent, name, chunks) in [
            (directory, "z", [(0, 1), (1, 7), (0, 2)]), (sub, "deep", [(0, 3), (0, 1)]),
            (FileTree.root, "other", [(0, 0)]), (directory, "empty", []),
        ] {
            var node = FileTree.Node(type: .regular, attributes: .implicitDirectory)
            node.chunks = chunks.map { ChunkAddress(blob: UInt16($0.0), index: UInt32($0.1)) }
            node.size = UInt64(chunks.count) * 4096
            let id = tree.add(node)
            tree[parent].children[FileName(name)] = id
        }
        return tree
    }

    private func chunks(_ text: String) throws -> [UInt32] {
        try list(text).chunks(of: tree(), chunkSize: 4096)
    }

    @Test func linesArePathsWhateverTheirBytes() throws {
        let bytes: [UInt8] = Array("/a b \n\n  \n/\u{0}".utf8.dropLast()) + [0xff]
        let list = try PrefetchList(parsing: bytes, document: "list")
        #expect(list.entries.map(\.path) == [Array("/a b ".utf8), [0x2f, 0xff]])
        #expect(try self.list("").entries.isEmpty)
        #expect(try self.list(" \n {\"version\":\"v1\",\"files\":[]}").entries.isEmpty)
    }

    @Test func jsonHasRanges() throws {
        let text = #"""
            {"version":"v1","files":[{"path":"/a"},{"path":"/b","ranges":[[5,10],[0,0]]},
            {"path":"/c","ranges":null}]}
            """#
        let entries = try list(text).entries
        #expect(
            entries == [
                PrefetchList.Entry(path: Array("/a".utf8), ranges: nil),
                PrefetchList.Entry(path: Array("/b".utf8), ranges: [5..<15, 0..<0]),
                PrefetchList.Entry(path: Array("/c".utf8), ranges: nil),
            ]
        )
    }

    @Test(arguments: [
        ("/a\nb", "list: line 2: \"b\" is no absolute path"),
        ("/a\u{0}", "list: line 1"),
        (#"{"files":[]}"#, "list: version"),
        (#"{"version":"v1"}"#, "list: files: missing"),
        (#"{"version":"v1","files":[{}]}"#, "list: files[0].path"),
        (
            #"{"version":"v1","files":[{"path":"/a","ranges":[[1,-1]]}]}"#,
            "ranges[0]: not an offset"
        ),
        (#"{"version":"v1","files":[{"path":"/a","ranges":3}]}"#, "files[0].ranges: not an array"),
    ])
    func malformedListsAreNamed(_ text: String, _ message: String) {
        let error = #expect(throws: ContentError.self) { try list(text) }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
    }

    @Test func chunksComeInTheListsOrderAndOnce() throws {
        #expect(try chunks("/other\n/a/z\n") == [0, 1, 2])
        #expect(try chunks("/link/sub/deep\n/a/z\n/other\n/a/z\n") == [3, 1, 2, 0])
        // A directory's files come before those of its sub-directories.
        #expect(try chunks("/a") == [1, 2, 3])
        #expect(try chunks("/") == [0, 1, 2, 3])
        #expect(try chunks("/a/z/\n/none\n/a/z/x\n/link/../../other") == [1, 2, 0])
    }

    @Test func rangesMeanTheChunksTheyTouch() throws {
        func chunks(_ ranges: String) throws -> [UInt32] {
            try self.chunks(
                #"{"version":"v1","files":[{"path":"/a/sub/deep","ranges":[\#(ranges)]}]}"#
            )
        }
        #expect(try chunks("[0,1]") == [3])
        #expect(try chunks("[4095,2]") == [3, 1])
        #expect(try chunks("[4096,1],[0,4096]") == [1, 3])
        #expect(try chunks("[0,0]") == [])
        #expect(try chunks("[8192,9223372036854775807]") == [])
        #expect(try chunks("[9223372036854775807,9223372036854775807]") == [])
    }

    @Test func theTableNamesWhatIsWantedWhole() throws {
        let tree = tree()
        let text = #"""
            {"version":"v1","files":[{"path":"/a/z","ranges":[[0,4096]]},
            {"path":"/a/sub/deep","ranges":[[4096,4096],[0,4096]]},{"path":"/a/empty"},
            {"path":"/link"},{"path":"/a"},{"path":"/gone\u001b"}]}
            """#
        let resolution = try list(text).resolve(in: tree)
        let wanted = ["/a/sub/deep", "/a"].compactMap { tree.node(at: Array($0.utf8)) }
        #expect(resolution.nodes == wanted)
        #expect(resolution.missing == ["/gone\\x1b"])
    }
}
