// SPDX-License-Identifier: Apache-2.0

import Content
import TestSupport
import Testing

@testable import RAFS

@Suite("Bootstrap writer")
struct WriterTests {
    @Test(arguments: 0..<8)
    func randomTreesComeBack(_ seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        let tree = Images.random(&generator, count: 10 + seed * 40)
        let image = try Images.bootstrap(tree)
        #expect(try Images.tree(of: image).lines() == tree.lines())
        #expect(try Images.bootstrap(tree) == image)
    }

    /// Every area of a bootstrap, by its first and last byte.
    @Test(arguments: 0..<8)
    func areasKeepTheirRulesAndNeverOverlap(_ seed: Int) throws {
        var generator = SeededGenerator(seed: 100 + UInt64(seed))
        let tree = Images.random(&generator, count: 10 + seed * 40)
        let image = try Images.bootstrap(tree)
        let layout = try BootstrapLayout(image.rawSpan)
        let view = Bootstrap(bytes: image.rawSpan, layout: layout)
        let nodes = try view.treeWithNumbers(limits: .standard).nodes
        var areas = [0..<layout.metadataOffset, layout.chunkTable]
        #expect(layout.chunkTable.lowerBound % 4096 == 0)
        #expect(image.count % 4096 == 0)
        #expect(nodes[128] == FileTree.root)
        for nid in nodes.keys {
            let inode = try view.inode(nid)
            #expect(inode.offset % 32 == 0)
            var end = inode.tailOffset
            if inode.type == .regular {
                #expect(inode.chunkIndexOffset % 8 == 0)
                end = inode.chunkIndexOffset + Int(view.chunkCount(of: inode)) * 8
            } else if [.directory, .symlink].contains(inode.type) {
                var outside = Int(inode.size)
                if inode.dataLayout == .inline {
                    end += Int(inode.size % 4096)
                    outside = Int(inode.size) / 4096 * 4096
                    // [inode][xattrs][tail] stand in one block.
                    #expect(inode.offset / 4096 == (end - 1) / 4096)
                    #expect(inode.size % 4096 > 0)
                } else {
                    let whole = inode.tailOffset - inode.offset + Int(inode.size % 4096)
                    #expect(inode.size % 4096 == 0 || whole > 4096)
                }
                let first = Int(inode.union) * 4096
                if outside > 0 { areas.append(first..<first + outside) }
            }
            areas.append(inode.offset..<end)
        }
        areas.sort { $0.lowerBound < $1.lowerBound }
        for (area, next) in zip(areas, areas.dropFirst()) {
            #expect(area.upperBound <= next.lowerBound)
        }
        #expect(areas.allSatisfy { $0.upperBound <= image.count })
    }

    @Test func inodesAreOfTheirFormAndComeBack() throws {
        var tree = FileTree()
        var node = Images.node(.blockDevice)
        node.device = DeviceNumber(major: 4095, minor: 1_048_575)
        node.attributes = FileAttributes(
            permissions: 0o7777,
            userID: .max,
            groupID: .max - 1,
            modificationSeconds: .min,
            modificationNanoseconds: 999_999_999
        )
        Images.add(FileName("d"), node, of: &tree)
        let image = try Images.bootstrap(tree)
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        let name: [UInt8] = [0x64]
        let found = try view.lookup(name.rawSpan, in: view.root())
        let inode = try view.inode(try #require(found))
        #expect(inode.type == .blockDevice)
        #expect(inode.attributes == node.attributes)
        #expect(inode.device == node.device)
        #expect(inode.linkCount == 1)
        #expect(inode.buildNumber == 2)
        #expect(inode.xattrOffset - inode.offset == 64)
        #expect(try image.rawSpan.littleEndian(UInt16.self, at: inode.offset) == 1)
        #expect(try image.rawSpan.littleEndian(UInt16.self, at: inode.offset + 4) == 0o067_777)
    }

    @Test func compactInodesAreRead() throws {
        var bytes = [UInt8](repeating: 0, count: 4096)
        bytes.storeLittleEndian(UInt16(0 << 1), at: 0)
        bytes.storeLittleEndian(UInt16(2), at: 2)
        bytes.storeLittleEndian(UInt16(0o020_644), at: 4)
        bytes.storeLittleEndian(UInt16(3), at: 6)
        bytes.storeLittleEndian(UInt32(77), at: 8)
        bytes.storeLittleEndian(UInt32(0x103), at: 16)
        bytes.storeLittleEndian(UInt32(9), at: 20)
        bytes.storeLittleEndian(UInt16(1000), at: 24)
        bytes.storeLittleEndian(UInt16(1001), at: 26)
        let inode = try Inode(bytes.rawSpan, at: 0, nid: 5)
        #expect(inode.type == .characterDevice)
        #expect((inode.linkCount, inode.size, inode.buildNumber) == (3, 77, 9))
        #expect((inode.attributes.userID, inode.attributes.groupID) == (1000, 1001))
        #expect(inode.attributes.modificationSeconds == 0)
        #expect(inode.device == DeviceNumber(major: 1, minor: 3))
        #expect((inode.xattrOffset, inode.xattrByteCount, inode.tailOffset) == (32, 16, 48))
    }

    @Test(
        arguments: [
            (0, [3], "inode 5: format 0x3 is not known"),
            (0, [0x11], "inode 5: format 0x11 is not known"),
            (1, [1], "inode 5: format 0x101 is not known"),
            (0, [9], "inode 5: a fifo with data layout chunks"),
            (5, [0x01], "inode 5: mode 0o644 names no type"),
            (5, [0x81], "inode 5: a regular with data layout plain"),
            (15, [1], "inode 5: size 72057594037927936 is impossible"),
        ] as [(Int, [UInt8], String)]
    )
    func brokenInodesAreNamed(_ offset: Int, _ value: [UInt8], _ message: String) {
        var bytes = [UInt8](repeating: 0, count: 64)
        bytes[0] = 1
        bytes.storeLittleEndian(UInt16(0o010_644), at: 4)
        #expect(throws: Never.self) { try Inode(bytes.rawSpan, at: 0, nid: 5) }
        bytes.replaceSubrange(offset..<offset + value.count, with: value)
        let error = #expect(throws: ContentError.self) { try Inode(bytes.rawSpan, at: 0, nid: 5) }
        #expect(error?.message == message)
    }

    @Test(
        arguments: [
            // One chunk or less: the chunk size itself.
            (4096, 0, true, 0), (4096, 1, true, 0), (4096, 4096, true, 0), (1 << 20, 4096, true, 8),
            // Chunks in a row are one chunk to the kernel, of the next power of two.
            (4096, 4097, true, 1), (4096, 8192, true, 1), (4096, 8193, true, 2),
            (1 << 20, 3 << 20, true, 10), (1 << 20, 1 << 43, true, 31),
            // Five bits are not enough.
            (1 << 20, (1 << 43) + 1, true, 8), (1 << 24, 1 << 55, true, 12),
            (4096, 4097, false, 0), (1 << 20, 3 << 20, false, 8),
        ] as [(UInt32, UInt64, Bool, UInt32)]
    )
    func chunkFormatTellsTheKernelWhatLiesInARow(
        _ chunkSize: UInt32,
        _ size: UInt64,
        _ isContiguous: Bool,
        _ bits: UInt32
    ) {
        let format = InodeEncoder.chunkFormat(
            chunkSize: chunkSize,
            fileSize: size,
            isContiguous: isContiguous
        )
        #expect(format == bits | 0x20)
    }

    @Test func filesTellWhetherTheirChunksLieInARow() throws {
        var tree = FileTree()
        Images.add(FileName("a"), Images.file(3..<6), of: &tree)
        var scattered = Images.file(3..<6)
        scattered.chunks.swapAt(1, 2)
        Images.add(FileName("b"), scattered, of: &tree)
        var other = Images.file(3..<6)
        other.chunks[2].blob = 1
        Images.add(FileName("c"), other, of: &tree)
        let blobs = [Images.blob(10), Images.blob(10, id: "b")]
        let image = try Images.bootstrap(tree, blobs: blobs)
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        var formats: [UInt32] = []
        for name in "abc".utf8 {
            let bytes = [name]
            let nid = try view.lookup(bytes.rawSpan, in: view.root())
            formats.append(try view.inode(try #require(nid)).union)
        }
        #expect(formats == [0x22, 0x20, 0x20])
    }

    @Test(
        arguments: [
            // Chunks, the position of the first, and the last that is the file's.
            ([0, 1, 2, 3], 0, 3), ([0, 1, 2, 3], 3, 3),
            // One that the file has twice, on the way and at its end.
            ([0, 1, 0, 2, 3], 1, 3), ([0, 1, 2, 3, 4, 0], 0, 2),
            // Some that another file had first.
            ([100, 101, 7, 102, 103], 0, 103), ([7, 100, 101], 0, 7), ([7, 8, 100, 101], 0, 8),
        ] as [([UInt32], UInt64, UInt32)]
    )
    func filesTellHowFarTheirChunksGo(
        _ chunks: [UInt32],
        _ position: UInt64,
        _ last: UInt32
    ) throws {
        var tree = FileTree()
        var file = Images.file(0..<chunks.count)
        file.chunks = chunks.map { ChunkAddress(blob: 0, index: $0) }
        Images.add(FileName("a"), file, of: &tree)
        let image = try Images.bootstrap(tree)
        let view = Bootstrap(bytes: image.rawSpan, layout: try BootstrapLayout(image.rawSpan))
        let name = Array("a".utf8)
        let inode = try view.inode(#require(try view.lookup(name.rawSpan, in: view.root())))
        let first = ChunkAddress(blob: 0, index: chunks[Int(position)])
        #expect(try view.lastChunk(of: inode, from: position, first) == last)
    }

    @Test func whatCannotBeStoredIsNamed() {
        func message(_ node: FileTree.Node, _ name: FileName = FileName("f")) -> String? {
            var tree = FileTree()
            let directory = Images.add(FileName("d"), Images.node(.directory), of: &tree)
            Images.add(name, node, to: directory, of: &tree)
            return #expect(throws: ContentError.self) { try Images.bootstrap(tree) }?.message
        }
        var link = Images.node(.symlink)
        link.target = []
        #expect(message(link) == "/d/f: a symbolic link to 0 bytes")
        link.target = [UInt8](repeating: 1, count: 4096)
        #expect(message(link) == "/d/f: a symbolic link to 4096 bytes")
        var device = Images.node(.characterDevice)
        device.device.major = 4096
        #expect(message(device) == "/d/f: device 4096:0")
        var file = Images.file(0..<2)
        file.size = 3 * 4096
        #expect(message(file) == "/d/f: a file of 12288 bytes has 2 chunks")
        file.size = 2 * 4096
        file.chunks[1].blob = 1
        #expect(message(file) == "/d/f: chunk 1 of blob 1 is not known")
        file.chunks[1] = ChunkAddress(blob: 0, index: 1 << 24)
        #expect(message(file) == "/d/f: chunk 16777216 of blob 0 is not known")
        #expect(message(Images.node(.fifo), FileName("a/b")) == "/d: a file named a/b")
        #expect(message(Images.node(.fifo), FileName("")) == "/d: a file named ")
        #expect(message(Images.node(.fifo), FileName("..")) == "/d: a file named ..")
    }

    @Test func tooManyBlobsAreRefused() throws {
        let blobs = (0..<255).map { number in
            var blob = Images.blob(1)
            blob.id = String(repeating: "0", count: 61) + String(1000 + number).suffix(3)
            return blob
        }
        let most = try Images.bootstrap(FileTree(), blobs: Array(blobs.dropLast()))
        #expect(try BootstrapLayout(most.rawSpan).blobs.count == 254)
        let error = #expect(throws: ContentError.self) {
            try Images.bootstrap(FileTree(), blobs: blobs)
        }
        #expect(error?.kind == .limitExceeded)
        #expect(error?.message == "255 data blobs; a RAFS v6 image has at most 254")
    }

    @Test(arguments: [0, 1, 4095, 4097, 1 << 25, .max] as [UInt32])
    func oddChunkSizesAreRefused(_ size: UInt32) {
        let writer = BootstrapWriter(tree: FileTree(), blobs: [], chunkSize: size, flags: [])
        #expect(throws: ContentError.self) { try writer.write { _ in nil } }
    }

    @Test func implicitDirectoriesAreMarkedOnlyInALayersOwnBootstrap() throws {
        var tree = FileTree()
        Images.add(FileName("i"), .implicitDirectory, of: &tree)
        Images.add(FileName("j"), Images.node(.directory), of: &tree)
        for isMarked in [true, false] {
            var writer = BootstrapWriter(
                tree: tree,
                blobs: [],
                chunkSize: 4096,
                flags: BootstrapWriter.flags(.zstd, blobs: [])
            )
            writer.marksImplicitDirectories = isMarked
            let result = try Images.tree(of: writer.write { _ in nil })
            let marks = result.sortedChildren(of: FileTree.root).map { result[$0.node].isImplicit }
            #expect(marks == [isMarked, false])
            #expect(result[FileTree.root].isImplicit == isMarked)
        }
    }
}
