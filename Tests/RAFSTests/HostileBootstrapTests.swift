// SPDX-License-Identifier: Apache-2.0

import Content
import TestSupport
import Testing

@testable import RAFS

/// What counts in most of these tests is that they return: errors or values, never a trap.
@Suite("Hostile bootstraps")
struct HostileBootstrapTests {
    /// A small image with everything in it.
    private static func image() throws -> [UInt8] {
        var tree = FileTree()
        for type in FileType.allCases {
            var node = Images.node(type)
            if type == .regular { node = Images.file(0..<3) }
            node.xattrs = [ExtendedAttribute(name: Array("user.k".utf8), value: [1, 2, 3])]
            Images.add(FileName("\(type)"), node, of: &tree)
        }
        let directory = Images.add(FileName("many"), Images.node(.directory), of: &tree)
        let file = tree.add(Images.file(5..<6))
        for number in 0..<220 {
            tree[directory].children[FileName("n\(1_000_000 + number)")] = file
        }
        var long = Images.node(.symlink)
        long.target = [UInt8](repeating: 0x74, count: 4090)
        let link = Images.add(FileName("long"), long, of: &tree)
        return try Images.bootstrap(tree, blobs: [Images.blob(10)], prefetch: [link])
    }

    /// Calls everything a bootstrap has with every inode it can name.
    private static func tryAll(_ image: [UInt8], nids: some Sequence<UInt64>) {
        guard let layout = try? BootstrapLayout(image.rawSpan) else { return }
        let view = Bootstrap(bytes: image.rawSpan, layout: layout)
        _ = try? layout.checkReadable()
        _ = try? view.verifiedTree { (address) throws(ContentError) in Images.chunk(address) }
        _ = try? view.prefetchList()
        _ = try? view.root()
        let limits = BootstrapLimits(names: 1000, depth: 3)
        _ = try? view.tree(limits: limits)
        if let dump = try? ImageDump(view) { dump.write { _ in } }
        for nid in nids {
            if let inode = try? view.inode(nid) { tryAll(inode, of: view) }
        }
    }

    private static func tryAll(_ inode: Inode, of view: borrowing Bootstrap) {
        _ = try? view.xattrs(of: inode)
        _ = try? view.symlinkTarget(of: inode).byteCount
        for position: UInt64 in [0, 1, 12, 4095, 4096, 12 * 341, 1 << 40, .max] {
            var count = 0
            try? view.forEachEntry(of: inode, from: position) { (_) throws(ContentError) in
                count += 1
                return count < 50
            }
        }
        for name in [
            [], [0x2e], [0x66], Array("n1000100".utf8), [UInt8](repeating: 0xff, count: 600),
        ] {
            _ = try? view.lookup(name.rawSpan, in: inode)
        }
        for index: UInt64 in [0, 1, 2, 1 << 20, 1 << 40, .max] {
            _ = try? view.chunk(index, of: inode)
        }
        for offset: UInt64 in [0, 4095, 12287, 1 << 55, .max] {
            for count: UInt64 in [0, 1, 4097, .max] {
                var slices = 0
                try? view.forEachSlice(of: inode, offset: offset, count: count) {
                    (slice) throws(ContentError) in
                    slices += 1
                    if slices > 50 { throw .corrupt("enough") }
                    #expect(slice.count > 0)
                }
            }
        }
    }

    @Test func flippedBitsNeverTrap() throws {
        let image = try Self.image()
        let layout = try BootstrapLayout(image.rawSpan)
        let all = (0..<UInt64((image.count - layout.metadataOffset) / 32))
        // Every byte of superblocks and tables' heads, of the inodes a sample.
        let places =
            Array(stride(from: 1024, to: 1500, by: 2)) + Array(stride(from: 4096, to: 4360, by: 3))
            + Array(stride(from: layout.metadataOffset + 4096, to: image.count, by: 127))
        for (number, place) in places.enumerated() {
            var broken = image
            broken[place] ^= 1 << UInt8(number % 8)
            Self.tryAll(broken, nids: [128, 130, all.upperBound - 1, .max])
        }
        Self.tryAll(image, nids: all)
    }

    @Test func randomBytesInInodesNeverTrap() throws {
        let image = try Self.image()
        let start = try BootstrapLayout(image.rawSpan).metadataOffset + 4096
        var generator = SeededGenerator(seed: 7)
        let odd: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
        for _ in 0..<80 {
            var broken = image
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                let place = Int.random(in: start..<image.count, using: &generator)
                let count = Int.random(in: 1...8, using: &generator)
                for index in place..<min(place + count, image.count) {
                    broken[index] = odd.randomElement(using: &generator) ?? 0
                }
            }
            Self.tryAll(broken, nids: stride(from: 128, to: 200, by: 3))
        }
    }

    @Test func cutsNeverTrap() throws {
        let image = try Self.image()
        for count in stride(from: 0, through: image.count, by: 4096) {
            Self.tryAll(Array(image[..<count]), nids: 100..<160)
        }
    }

    @Test func sharedBytesCannotUnfoldIntoALargeTree() throws {
        // Forty links that all name the same block as theirs.
        var tree = FileTree()
        for number in 0..<40 {
            Images.add(FileName("l\(100 + number)"), Images.node(.symlink), of: &tree)
        }
        let image = try Images.bootstrap(tree, blobs: [])
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        var shared = image
        for nid in try view.treeWithNumbers(limits: .standard).nodes.keys where nid != 128 {
            let place = Int(nid) * 32
            shared.storeLittleEndian(UInt16(1), at: place)
            shared.storeLittleEndian(UInt64(4000), at: place + 8)
            shared.storeLittleEndian(UInt32(0), at: place + 16)
        }
        #expect(image.count < 40 * 4000)
        let error = #expect(throws: ContentError.self) { try Images.tree(of: shared) }
        let expected = "more inodes, names and chunks than the bootstrap has bytes for"
        #expect(error.map { String($0.message.suffix(expected.count)) } == expected)
    }

    @Test func limitsAreTold() throws {
        var tree = FileTree()
        var parent = FileTree.root
        for _ in 0..<20 {
            parent = Images.add(FileName("d"), Images.node(.directory), to: parent, of: &tree)
        }
        let image = try Images.bootstrap(tree, blobs: [])
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        func message(names: UInt64, depth: Int) -> String {
            do throws(ContentError) {
                _ = try view.tree(limits: BootstrapLimits(names: names, depth: depth))
                return "none"
            } catch {
                return error.kind == .limitExceeded ? error.message : "of another kind"
            }
        }
        #expect(message(names: 21, depth: 20) == "none")
        #expect(
            message(names: 20, depth: 20).hasSuffix(
                "more than 20 names in the image; --max-entries raises the limit"
            )
        )
        #expect(
            message(names: 21, depth: 2)
                == "/d/d/d: more than 2 directories deep; --max-depth raises the limit"
        )
    }

    /// Changes of a small tree that leave each part well formed, but not the whole.
    @Test(
        arguments: [
            ("link count", 44, [9], "inode 130: 1 names, its link count is 9"),
            ("root's link count", -20, [7], "/: 1 sub-directories, its link count is 7"),
        ] as [(String, Int, [UInt8], String)]
    )
    func contradictionsAreNamed(
        _ name: String,
        _ offset: Int,
        _ value: [UInt8],
        _ message: String
    ) throws {
        var tree = FileTree()
        Images.add(FileName("a"), Images.node(.directory), of: &tree)
        Images.add(FileName("f"), Images.node(.fifo), of: &tree)
        let image = try Images.bootstrap(tree, blobs: [])
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        let file: [UInt8] = [0x66]
        let nid = try #require(try view.lookup(file.rawSpan, in: view.root()))
        let place = Int(nid) * 32
        let target = offset < 0 ? 4096 + 64 + offset : place + offset
        var changed = image
        changed.replaceSubrange(target..<target + value.count, with: value)
        let error = #expect(throws: ContentError.self) { try Images.tree(of: changed) }
        #expect(error?.message.replacing("inode \(nid)", with: "inode 130") == message)
    }
}
