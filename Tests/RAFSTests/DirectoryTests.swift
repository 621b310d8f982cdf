// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

@Suite("Directories")
struct DirectoryTests {
    private static func image(_ names: [FileName]) throws -> [UInt8] {
        var tree = FileTree()
        for name in names { Images.add(name, Images.node(.fifo), of: &tree) }
        return try Images.bootstrap(tree, blobs: [])
    }

    private static func view(
        _ image: [UInt8],
        _ body: (borrowing Bootstrap) throws -> Void
    ) throws {
        try body(Bootstrap(bytes: image.rawSpan, layout: BootstrapLayout(image.rawSpan)))
    }

    /// Directories whose content ends just before, at and after a block's end: "." and ".." take
    /// 27 bytes, a name of 8 bytes 20.
    @Test(arguments: [0, 1, 2, 202, 203, 204, 205, 407, 408, 409, 818, 819, 820])
    func everyNameIsFoundAndNoOther(_ count: Int) throws {
        let names = (0..<count).map { FileName("n\(1_000_000 + $0 * 2)") }
        try Self.view(Self.image(names)) { view in
            let root = try view.root()
            for number in -1...count * 2 {
                let name = Array("n\(1_000_000 + number)".utf8)
                let found = try view.lookup(name.rawSpan, in: root)
                let isThere = number >= 0 && number < count * 2 && number % 2 == 0
                #expect((found != nil) == isThere, "\(number)")
            }
            for name in [[], [0x21], [0x6e], [0xff], [UInt8](repeating: 0x6e, count: 300)] {
                let found = try view.lookup(name.rawSpan, in: root)
                #expect(found == nil)
            }
            for dots: [UInt8] in [[0x2e], [0x2e, 0x2e]] {
                let found = try view.lookup(dots.rawSpan, in: root)
                #expect(found == 128)
            }
        }
    }

    @Test func fullAndShortBlocksHoldNamesOfEveryLength() throws {
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<30 {
            var names: Set<FileName> = []
            for _ in 0..<Int.random(in: 1...120, using: &generator) {
                let count = Int.random(in: 1...255, using: &generator)
                names.insert(
                    FileName(
                        (0..<count).map { _ in UInt8.random(in: 0x30...0xff, using: &generator) }
                    )
                )
            }
            let image = try Self.image(Array(names))
            #expect(Set(try Images.tree(of: image)[FileTree.root].children.keys) == names)
            try Self.view(image) { view in
                for name in names {
                    let found = try view.lookup(name.bytes.rawSpan, in: view.root())
                    #expect(found != nil)
                    let bytes = name.bytes + [0x30]
                    let longer = try view.lookup(bytes.rawSpan, in: view.root())
                    let isThere = names.contains(FileName(bytes))
                    #expect((longer != nil) == isThere)
                }
            }
        }
    }

    @Test func readingGoesOnWhereItStopped() throws {
        let names = (0..<700).map { FileName("name-\(1000 + $0)") }
        try Self.view(Self.image(names)) { view in
            let root = try view.root()
            var all: [FileName] = []
            var positions: [UInt64] = [0]
            try view.forEachEntry(of: root) { (entry) throws(ContentError) in
                all.append(FileName(try entry.name.bytes(at: 0, count: entry.name.byteCount)))
                positions.append(entry.nextPosition)
                return true
            }
            #expect(all == [FileName("."), FileName("..")] + names)
            #expect(positions == positions.sorted())
            for start in stride(from: 0, through: all.count, by: 7) {
                var rest: [FileName] = []
                try view.forEachEntry(of: root, from: positions[start]) {
                    (entry) throws(ContentError) in
                    rest.append(FileName(try entry.name.bytes(at: 0, count: entry.name.byteCount)))
                    return rest.count < 3
                }
                #expect(rest == Array(all[start...].prefix(3)))
            }
        }
    }

    @Test func otherFilesAreNoDirectories() throws {
        try Self.view(Self.image([FileName("f")])) { view in
            let name: [UInt8] = [0x66]
            let nid = try #require(try view.lookup(name.rawSpan, in: view.root()))
            let file = try view.inode(nid)
            var messages: [String] = []
            do throws(ContentError) {
                _ = try view.lookup(name.rawSpan, in: file)
            } catch { messages.append(error.message) }
            do throws(ContentError) {
                try view.forEachEntry(of: file) { _ in true }
            } catch { messages.append(error.message) }
            do throws(ContentError) {
                _ = try view.symlinkTarget(of: file)
            } catch { messages.append(error.message) }
            #expect(
                messages == [
                    "inode \(nid): a fifo, not a directory",
                    "inode \(nid): a fifo, not a directory",
                    "inode \(nid): a fifo of 0 bytes has no target",
                ]
            )
        }
    }
}
