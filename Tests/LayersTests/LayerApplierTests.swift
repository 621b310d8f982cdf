// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import Testing

@Suite("Layer applier")
struct LayerApplierTests {
    private func text(_ layers: String...) throws -> [String] {
        LayerText.text(try LayerText.merged(layers))
    }

    private func message(_ layers: String...) -> String? {
        #expect(throws: ContentError.self) { try LayerText.merged(layers) }?.message
    }

    @Test func filesOfUpperLayersReplaceThoseBelow() throws {
        #expect(
            try text("f a x\nf b x", "f b y\nf c y") == [
                "/a regular 0:0", "/b regular 1:0", "/c regular 1:1",
            ]
        )
        #expect(try text("d a\nf a/b x", "f a y") == ["/a regular 1:0"])
        #expect(try text("f a x", "d a 0700\nf a/b y") == ["/a directory 700", "/a/b regular 1:0"])
        #expect(try text("f a x", "f a/b y") == ["/a directory 755 implicit", "/a/b regular 1:0"])
        #expect(try text("l a b", "c a 1 3") == ["/a characterDevice"])
    }

    @Test func directoriesMerge() throws {
        #expect(
            try text("d d 0700\nf d/a x", "d d 0711\nf d/b y")
                == ["/d directory 711", "/d/a regular 0:0", "/d/b regular 1:0"]
        )
        // One that only paths imply changes nothing of it.
        #expect(
            try text("d d 0700\nf d/a x", "f d/b y")
                == ["/d directory 700", "/d/a regular 0:0", "/d/b regular 1:0"]
        )
        let tree = try LayerText.merged(["d ./ 0711", "f a x"])
        #expect(tree[FileTree.root].attributes.permissions == 0o711)
    }

    @Test func whiteoutsHideWhatIsBelow() throws {
        #expect(try text("f a x\nf b x", "f .wh.a") == ["/b regular 0:1"])
        #expect(
            try text("d d\nf d/a x\nd d/e\nf d/e/f x", "f d/.wh.e") == [
                "/d directory 644", "/d/a regular 0:0",
            ]
        )
        #expect(try text("f a x", "f .wh.none") == ["/a regular 0:0"])
        // Not what the same layer adds, wherever it stands in the layer.
        #expect(try text("f a x", "f a y\nf .wh.a") == ["/a regular 1:0"])
        #expect(try text("f a x", "f .wh.a\nf a y") == ["/a regular 1:0"])
        #expect(try text("d d 0700\nf d/a x", "f .wh.d\nd d 0711") == ["/d directory 711"])
        #expect(
            try text("d d 0700\nf d/a x", "f .wh.d\nf d/b y") == [
                "/d directory 755 implicit", "/d/b regular 1:0",
            ]
        )
        // A whiteout of the lowest layer hides nothing, and leaves nothing.
        #expect(try text("f .wh.a\nf a x") == ["/a regular 0:0"])
        #expect(try text("f a x", "f .wh.a", "f b y") == ["/b regular 2:0"])
    }

    @Test func opaqueDirectoriesHideAllBelow() throws {
        let lower = "d d 0700\nf d/a x\nd d/e\nf d/e/f x"
        #expect(
            try text(lower, "d d 0711\nf d/.wh..wh..opq\nf d/b y") == [
                "/d directory 711", "/d/b regular 1:0",
            ]
        )
        #expect(
            try text(lower, "f d/b y\nf d/.wh..wh..opq") == [
                "/d directory 700", "/d/b regular 1:0",
            ]
        )
        #expect(
            try text(lower, "f d/e/.wh..wh..opq")
                == ["/d directory 700", "/d/a regular 0:0", "/d/e directory 644"]
        )
        #expect(try text(lower, "f .wh..wh..opq\nf b y") == ["/b regular 1:0"])
        #expect(try text(lower, "f .wh..wh..opq", lower).contains("/d/e/f regular 2:1"))
    }

    @Test func bookkeepingOfAUFSMeansNothing() throws {
        #expect(
            try text("f plnk x", "f .wh..wh.plnk\nd .wh..wh.orph\nf .wh..wh.orph/x y") == [
                "/plnk regular 0:0"
            ]
        )
    }

    @Test(arguments: [".wh.", ".wh..", ".wh..."])
    func whiteoutsOfNoFileAreRefused(_ name: String) {
        #expect(message("d d\nf d/a x", "f d/\(name)") == "/d: whiteout \(name) names no file")
    }

    @Test func impliedDirectoriesFollowLinksOfLowerLayers() throws {
        let lower = "d usr 0700\nd usr/lib 0711\nf usr/lib/a x\nl lib usr/lib"
        let merged = ["/lib symlink usr/lib", "/usr directory 700", "/usr/lib directory 711"]
        #expect(
            try text(lower, "f lib/b y")
                == merged + ["/usr/lib/a regular 0:0", "/usr/lib/b regular 1:0"]
        )
        #expect(try text(lower, "f lib/.wh.a") == merged)
        #expect(
            try text(lower, "f lib/.wh..wh..opq\nf lib/b y") == merged + ["/usr/lib/b regular 1:0"]
        )
        // An entry for the directory replaces the link.
        #expect(
            try text(lower, "d lib 0755\nf lib/b y")
                == [
                    "/lib directory 755", "/usr directory 700", "/lib/b regular 1:0",
                    "/usr/lib directory 711", "/usr/lib/a regular 0:0",
                ]
        )
        #expect(try text("l a none", "f a/b y").last == "/none/b regular 1:0")
        #expect(message("l a a", "f d/x\nf a/b y") == "/a: more than 40 symbolic links")
        #expect(message("l a f\nf f x", "f a/b y") == "/a: f on the way to it is a regular")
    }

    @Test func whiteoutsComeBeforeWhatLinksLeadTo() throws {
        let lower = "d usr 0700\nd usr/lib 0711\nf usr/lib/a x\nl lib usr/lib\nl zlib usr/lib"
        // The layer hides all of usr, and adds to it through links: those names are its own.
        for link in ["lib", "zlib"] {
            let result = try text(lower, "f \(link)/b y\nf usr/.wh..wh..opq")
            #expect(result.last == "/usr/lib/b regular 1:0")
            #expect(!result.contains("/usr/lib/a regular 0:0"))
            #expect(
                try text(lower, "f \(link)/b y\nf usr/.wh.lib").last == "/usr/lib/b regular 1:0"
            )
            // A whiteout on a path that another one hides brings no file back.
            let both = try text(lower, "f \(link)/.wh.a\nf usr/.wh.lib")
            #expect(!both.contains { $0.hasPrefix("/usr/lib/") })
        }
    }

    @Test func hardLinksStayOneFilePerLayer() throws {
        #expect(
            try text("f a x\nh b a", "f c y\nh d/e c") == [
                "/a regular 0:0", "/b = /a", "/c regular 1:0", "/d directory 755 implicit",
                "/d/e = /c",
            ]
        )
        #expect(try text("f a x\nh b a", "f a y") == ["/a regular 1:0", "/b regular 0:0"])
        let tree = try LayerText.merged(["f a x\nh b a", "f .wh.b"])
        let links = tree.linkCounts()
        #expect(tree.sortedChildren(of: FileTree.root).map { links[Int($0.node.index)] } == [1])
    }

    @Test func limitsHoldForAllLayersTogether() throws {
        var applier = LayerApplier(limits: LayerLimits(entries: 3, depth: 2, metadataBytes: 0))
        let layer = try LayerText.layer("f a x\nf b y").tree
        try applier.apply(layer) { $0 }
        let error = #expect(throws: ContentError.self) { try applier.apply(layer) { $0 } }
        #expect(
            error?.message
                == "a, all layers together: more than 3 entries; --max-entries raises the limit"
        )
        var deep = LayerApplier(limits: LayerLimits(entries: 100, depth: 2, metadataBytes: 0))
        try deep.apply(LayerText.layer("d a\nd a/b\nl l a/b").tree) { $0 }
        let upper = try LayerText.layer("f l/c/d x").tree
        let depth = #expect(throws: ContentError.self) { try deep.apply(upper) { $0 } }
        #expect(depth?.message == "/l/c: deeper than 2 directories; --max-depth raises the limit")
    }

    @Test func theResultIsTheSameInEveryRun() throws {
        let lower = "d q\nd r\nf r/f x\nl q/l ../r\nl p q/l"
        let upper = "f p/.wh.f\nf q/.wh.l\nf p/g y"
        let first = try text(lower, upper)
        for _ in 0..<20 { #expect(try text(lower, upper) == first) }
    }
}
