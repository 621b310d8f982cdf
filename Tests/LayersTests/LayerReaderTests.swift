// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import TestSupport
import Testing

@Suite("Layer reader")
struct LayerReaderTests {
    private func text(_ lines: String) throws -> [String] {
        LayerText.text(try LayerText.layer(lines).tree)
    }

    private func message(_ lines: String, limits: LayerLimits = .standard) -> String? {
        #expect(throws: ContentError.self) { try LayerText.layer(lines, limits: limits) }?.message
    }

    @Test func everyKindOfFileIsMade() throws {
        #expect(
            try text("d d 0700\nf d/f text\nl l d/f\nh h d/f\nc c 1 3\np p\nf empty")
                == [
                    "/c characterDevice", "/d directory 700", "/empty regular", "/h regular 0:0",
                    "/l symlink d/f", "/p fifo", "/d/f = /h",
                ]
        )
        let tree = try LayerText.layer("c c 1 3\nx f user.k v").tree
        let children = tree[FileTree.root].children
        #expect(children[FileName("c")].map { tree[$0].device } == DeviceNumber(major: 1, minor: 3))
        let xattrs = children[FileName("f")].map { tree[$0].xattrs }
        #expect(xattrs?.map(\.name) == [Array("user.k".utf8)])
    }

    @Test func contentsGoToTheSinkInOrder() throws {
        var sink = CountingSink()
        let tar = LayerText.tar("f a first\nf b\nf c second")
        _ = try LayerReader { _ in true }.read(ArrayStream(tar), into: &sink)
        #expect(sink.contents == [Array("first".utf8), Array("second".utf8)])
    }

    @Test func pathsAreCleaned() throws {
        #expect(try text("d ./\nf ./a//b/./c x") == text("f a/b/c x"))
        #expect(try text("f /a x") == ["/a regular 0:0"])
        #expect(try text("f a/../b x") == ["/b regular 0:0"])
        #expect(try text("f a/b/../../c x") == ["/c regular 0:0"])
        #expect(message("f ../a") == "../a: the path leads out of the root directory")
        #expect(message("f a/../../b") == "a/../../b: the path leads out of the root directory")
        #expect(message("f .") == ".: the root cannot be a regular")
        #expect(message("l / x") == "/: the root cannot be a symlink")
        let long = String(repeating: "n", count: 256)
        #expect(message("f \(long)")?.contains("a name of 256 bytes") == true)
    }

    @Test func missingParentsAreImplicit() throws {
        #expect(
            try text("f a/b/f x")
                == [
                    "/a directory 755 implicit", "/a/b directory 755 implicit",
                    "/a/b/f regular 0:0",
                ]
        )
        // An entry for one of them later says what it is, and keeps what is in it.
        #expect(
            try text("f a/f x\nd a 0700") == ["/a directory 700", "/a/f regular 0:0"]
        )
        #expect(try LayerText.layer("f f").tree[FileTree.root].isImplicit)
        #expect(try !LayerText.layer("d ./ 0711").tree[FileTree.root].isImplicit)
    }

    @Test func laterEntriesReplaceEarlierOnes() throws {
        #expect(try text("f a x\nf a y") == ["/a regular 0:1"])
        #expect(try text("f a x\nd a 0700") == ["/a directory 700"])
        #expect(try text("d a\nf a/b x\nf a y") == ["/a regular 0:1"])
        #expect(
            try text("d a 0700\nf a/b x\nd a 0711") == ["/a directory 711", "/a/b regular 0:0"]
        )
        #expect(try text("l a b\nd a 0700\nf a/x y") == ["/a directory 700", "/a/x regular 0:0"])
        // A hard link keeps what its target was when it was made.
        #expect(
            try text("f a x\nh b a\nf a y") == ["/a regular 0:1", "/b regular 0:0"]
        )
    }

    @Test func parentsAreFollowedThroughLinks() throws {
        let expected = ["/lib symlink usr/lib", "/usr directory 755", "/usr/lib directory 755"]
        let lines = "d usr 0755\nd usr/lib 0755\nl lib usr/lib\n"
        #expect(try text("\(lines)f lib/f x") == expected + ["/usr/lib/f regular 0:0"])
        #expect(try text("\(lines)f usr/../lib/./f x") == expected + ["/usr/lib/f regular 0:0"])
        // Absolute targets, and those that lead above the root, begin at the layer's root.
        for target in ["/usr/lib", "../../usr/lib", "./usr//lib/", "usr/./lib/../lib"] {
            let result = try text(
                lines.replacing("l lib usr/lib", with: "l lib \(target)") + "f lib/f x"
            )
            #expect(result.last == "/usr/lib/f regular 0:0")
        }
        #expect(
            try text("l a b\nl b c\nf a/f x")
                == [
                    "/a symlink b", "/b symlink c", "/c directory 755 implicit",
                    "/c/f regular 0:0",
                ]
        )
        // The link itself is replaced, not what it leads to.
        #expect(
            try text("\(lines)f lib x")
                == ["/lib regular 0:0", "/usr directory 755", "/usr/lib directory 755"]
        )
        #expect(message("f a x\nf a/b y") == "a/b: a on the way to it is a regular")
        #expect(message("l a f\nf f x\nf a/b y") == "a/b: f on the way to it is a regular")
    }

    @Test func loopsOfLinksEnd() throws {
        #expect(message("l a a\nf a/f x") == "a/f: more than 40 symbolic links")
        #expect(message("l a b/x\nl b a\nf a/f x") == "a/f: more than 40 symbolic links")
        let chain = (0..<40).map { "l n\($0) n\($0 + 1)" }.joined(separator: "\n")
        #expect(try text("\(chain)\nf n0/f x").last == "/n40/f regular 0:0")
        #expect(message("\(chain)\nl n40 n41\nf n0/f x") == "n0/f: more than 40 symbolic links")
    }

    @Test func hardLinksAreOneNode() throws {
        #expect(
            try text("f a x\nh b a\nh c /b\nl s t\nh d s")
                == ["/a regular 0:0", "/b = /a", "/c = /a", "/d symlink t", "/s = /d"]
        )
        #expect(try text("f a x\nh a a") == ["/a regular 0:0"])
        #expect(try text("f d/a x\nl e d\nh b e/a").contains("/d/a = /b"))
        #expect(message("h a a") == "a: a hard link to a, which is not in the same layer")
        #expect(message("h a no/b") == "a: a hard link to no/b, which is not in the same layer")
        #expect(message("d d\nh a d") == "a: a hard link to the directory d")
        #expect(message("h a /") == "a: a hard link to \"/\"")
        #expect(message("f a x\nh b ../a") == "b: the path leads out of the root directory")
        #expect(message("h ./ a") == "./: the root cannot be a hardLink")
    }

    @Test func whiteoutsStayFiles() throws {
        #expect(
            try text("f .wh.a\nf a x\nf d/.wh..wh..opq")
                == [
                    "/.wh.a regular", "/a regular 0:0", "/d directory 755 implicit",
                    "/d/.wh..wh..opq regular",
                ]
        )
    }

    @Test func targetsThatNoPathFollowsAreRefused() throws {
        func link(_ target: [UInt8]) throws(ContentError) -> LayerTree {
            var sink = CountingSink()
            let text = String(decoding: target, as: UTF8.self)
            let tar = TarBlocks.pax([("linkpath", text)]) + TarBlocks.header("l", type: "2")
            return try LayerReader { _ in true }
                .read(ArrayStream(tar + TarBlocks.end), into: &sink)
        }
        #expect(throws: Never.self) { try link([UInt8](repeating: 0x61, count: 4095)) }
        let error = #expect(throws: ContentError.self) {
            try link([UInt8](repeating: 0x61, count: 4096))
        }
        #expect(error?.message.hasPrefix("l: a symbolic link to 4096 bytes") == true)
        #expect(message("l l ")?.hasPrefix("l: a symbolic link to 0 bytes") == true)
    }

    @Test func limitsAreTold() throws {
        let limits = LayerLimits(entries: 4, depth: 3, metadataBytes: 100)
        #expect(throws: Never.self) {
            try LayerText.layer("f a x\nf b/c y", limits: limits)
        }
        #expect(
            message("f a x\nf b/c y\nf d", limits: limits)
                == "d: more than 4 entries; --max-entries raises the limit"
        )
        // Directories that only paths imply count as well.
        #expect(
            message("f a/b/c/d", limits: limits)
                == "a/b/c/d: more than 4 entries; --max-entries raises the limit"
        )
        let deep = LayerLimits(entries: 100, depth: 3, metadataBytes: 1000)
        #expect(throws: Never.self) { try LayerText.layer("f a/b/c/d x", limits: deep) }
        #expect(
            message("f a/b/c/d/e", limits: deep)
                == "a/b/c/d/e: deeper than 3 directories; --max-depth raises the limit"
        )
        #expect(
            message("d a/b/c/d", limits: deep)
                == "a/b/c/d: deeper than 3 directories; --max-depth raises the limit"
        )
        // Links lead no deeper.
        #expect(
            message("l l a/b/c\nf l/d/e", limits: deep)
                == "l/d/e: deeper than 3 directories; --max-depth raises the limit"
        )
        let name = String(repeating: "n", count: 98)
        #expect(throws: Never.self) { try LayerText.layer("f \(name)", limits: limits) }
        #expect(
            message("f \(name)\nf abc", limits: limits)
                == "abc: more than 100 bytes of paths, links and xattrs"
        )
        #expect(
            message("x f user.k \(name)", limits: limits)?.hasPrefix("f: more than 100") == true
        )
    }

    @Test func xattrsThatCannotBeKeptAreWarnedAbout() throws {
        let layer = try LayerText.layer("x a user.k v\nx b system.nfs4_acl v") {
            $0.name.starts(with: Array("user.".utf8))
        }
        #expect(
            layer.warnings == ["b: xattr system.nfs4_acl cannot be stored and is left out"]
        )
        let children = layer.tree.sortedChildren(of: FileTree.root)
        #expect(children.map { layer.tree[$0.node].xattrs.count } == [1, 0])
    }

    @Test func cutAndBrokenTarsAreErrors() {
        let tar = LayerText.tar("d d\nf d/f text\nl l d/f")
        for count in stride(from: 1, to: tar.count - 1024, by: 100) where count % 512 != 0 {
            var sink = CountingSink()
            let cut = Array(tar[..<count])
            // A cut between entries ends the archive; digests of the stream tell it.
            _ = try? LayerReader { _ in true }.read(ArrayStream(cut), into: &sink)
        }
        for broken in bitFlips(of: Array(tar[..<2048]), every: 7) {
            var sink = CountingSink()
            _ = try? LayerReader { _ in true }.read(ArrayStream(broken), into: &sink)
        }
    }
}
