// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

@Suite("Bootstrap layout")
struct BootstrapLayoutTests {
    private static func image() throws -> [UInt8] {
        var tree = FileTree()
        let file = Images.add(FileName("f"), Images.file(0..<3), of: &tree)
        return try Images.bootstrap(
            tree,
            blobs: [Images.blob(1000), Images.blob(2, id: "b")],
            prefetch: [file]
        )
    }

    @Test func tellsWhatWasWritten() throws {
        let image = try Self.image()
        let layout = try BootstrapLayout(image.rawSpan)
        #expect(layout.byteCount == image.count)
        #expect(layout.rootNID == 128)
        #expect(layout.inodeCount == 2)
        #expect(layout.chunkSize == 4096)
        #expect(layout.flags == BootstrapWriter.flags(.zstd, blobs: []))
        #expect(!layout.hasXattrs)
        #expect(layout.blobs == [Images.blob(1000), Images.blob(2, id: "b")])
        try layout.checkReadable()
        // Σ of the devices' blocks, without the bootstrap's own; places as formats.md 1.1 has them.
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1024 + 36) == 1002)
        #expect(try image.rawSpan.littleEndian(UInt64.self, at: 1152 + 8) == 4096)
        #expect(try image.rawSpan.littleEndian(UInt64.self, at: 1152 + 40) == 4096 + 512)
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1024 + 40) == 2)
        // Blobs begin at multiples of 512 KiB behind the bootstrap in the flattened view.
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1408 + 68) == 128)
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1408 + 128 + 68) == 1152)
    }

    @Test func anImageWithoutBlobsCountsFromItsStart() throws {
        let image = try Images.bootstrap(FileTree(), blobs: [])
        let layout = try BootstrapLayout(image.rawSpan)
        #expect(layout.blobs.isEmpty)
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1024 + 36) == 0)
        #expect(try image.rawSpan.littleEndian(UInt32.self, at: 1024 + 40) == 0)
        #expect(try Images.tree(of: image).nodeCount == 1)
    }

    /// A field changed, and what is said of it.
    struct Fault: Sendable, CustomStringConvertible {
        var offset: Int
        var value: [UInt8]
        var message: String

        init(_ offset: Int, _ value: [UInt8], _ message: String) {
            self.offset = offset
            self.value = value
            self.message = message
        }

        var description: String { message }
    }

    static let faults = [
        Fault(
            0,
            [0x53, 0x46, 0x41, 0x52],
            "bootstrap: RAFS v5; convert the image again, to RAFS v6"
        ),
        Fault(
            1024,
            [0],
            "bootstrap: no EROFS superblock: magic 0xe0f5e100, expected 0xe0f5e1e2"
        ),
        Fault(1028, [9], "bootstrap: checksum at 1028 is 9, expected 0"),
        Fault(1035, [0], "bootstrap: an EROFS image, but not a RAFS v6 bootstrap"),
        Fault(1036, [9], "bootstrap: tarfs images are not read"),
        Fault(1036, [13], "bootstrap: block size bits at 1036 is 13, expected 12"),
        Fault(1037, [1], "bootstrap: superblock extension slots at 1037 is 1, expected 0"),
        Fault(1064, [0xff, 0xff], "bootstrap: its metadata begins at block 65535, past its end"),
        Fault(1068, [1], "bootstrap: shared xattr block at 1068 is 1, expected 0"),
        Fault(1104, [0x1c], "bootstrap: incompatible features at 1104 is 28, expected 12"),
        Fault(1108, [1], "bootstrap: compression algorithms at 1108 is 1, expected 0"),
        Fault(1110, [3], "bootstrap: blob table of 512 bytes at 4096 for 3 devices"),
        Fault(1112, [12], "bootstrap: device table slot at 1112 is 12, expected 11"),
        Fault(1152, [0x9c, 1], "bootstrap: flags 0x100019c contradict"),
        Fault(1153, [5], "bootstrap: flags 0x1000598 contradict"),
        Fault(1153, [3], "bootstrap: tarfs images are not read"),
        Fault(1155, [3], "bootstrap: encrypted images are not read"),
        Fault(1160, [0, 0x80], "bootstrap: blob table of 512 bytes at 32768 for 2 devices"),
        Fault(1168, [1], "bootstrap: blob table of 513 bytes at 4096 for 2 devices"),
        Fault(1172, [1], "bootstrap: chunk size 4097 is no power of two in 4096...2^24"),
        Fault(1172, [0, 8], "bootstrap: chunk size 2048 is no power of two in 4096...2^24"),
        Fault(
            1183,
            [0xff],
            "bootstrap: chunk table of 240 bytes at 18374686479671640064 lies outside of it"
        ),
        Fault(1184, [241], "bootstrap: chunk table of 241 bytes at 16384 lies outside of it"),
        Fault(1200, [2], "bootstrap: prefetch table of 2 bytes at 4608 lies outside"),
        Fault(1408, [0x63], "bootstrap: blob 0 and its device slot contradict"),
        Fault(1472, [1], "bootstrap: blob 0 and its device slot contradict"),
        Fault(4096, [0x2f], "blob id \"/\(String(repeating: "a", count: 63))\" is not a name"),
        Fault(4160, [1], "blob 0 of the bootstrap: its index is not its place in the table"),
        Fault(4165, [0], "bootstrap: blob 0 and its device slot contradict"),
        Fault(
            4171,
            [1],
            "blob 0 of the bootstrap: 16778216 chunks, at most 2^24 can be named"
        ),
        Fault(4172, [4], "blob 0 of the bootstrap: compressor 4 is not known"),
        Fault(4176, [2], "blob 0 of the bootstrap: digest algorithm 2 is not known"),
        Fault(
            4189,
            [2],
            "blob 0 of the bootstrap: sizes 2200096997376 and 4096000 are out of range"
        ),
        Fault(4192, [1], "blob 0 of the bootstrap: sizes 1073741824 and 4096001 are out of range"),
        Fault(4204, [9], "blob 0 of the bootstrap: compressor 9 is not known"),
        Fault(
            4213,
            [2],
            "blob 0 of the bootstrap: its chunk-info table lies outside every possible blob"
        ),
    ]

    @Test(arguments: faults)
    func everyWrongFieldIsNamed(_ fault: Fault) throws {
        var image = try Self.image()
        image.replaceSubrange(fault.offset..<fault.offset + fault.value.count, with: fault.value)
        let error = #expect(throws: ContentError.self) { try BootstrapLayout(image.rawSpan) }
        #expect(error?.message == fault.message)
    }

    @Test func twoBlobsOfOneNameAreRefused() throws {
        let image = try Images.bootstrap(FileTree(), blobs: [Images.blob(1), Images.blob(2)])
        let error = #expect(throws: ContentError.self) { try BootstrapLayout(image.rawSpan) }
        #expect(error?.message.hasSuffix("stands there twice") == true)
    }

    @Test func cutsAreRefused() throws {
        let image = try Self.image()
        for count in stride(from: 0, to: image.count, by: 512) {
            let cut = Array(image[..<count])
            // All tables lie in the first blocks, but the chunk table, which is the last.
            #expect(throws: ContentError.self) { try BootstrapLayout(cut.rawSpan) }
        }
    }

    @Test func whatThisVersionDoesNotReadIsToldApart() throws {
        func message(_ change: (inout BlobTableEntry) -> Void) throws -> String {
            var blob = Images.blob(1)
            change(&blob)
            let image = try Images.bootstrap(FileTree(), blobs: [blob])
            let layout = try BootstrapLayout(image.rawSpan)
            let error = #expect(throws: ContentError.self) { try layout.checkReadable() }
            #expect(error?.kind == .unsupported)
            return error?.message.replacing(blob.id, with: "…") ?? ""
        }
        #expect(try message { $0.features.remove(.aligned) }.contains("not aligned"))
        for bit: UInt32 in [0x40, 0x100, 0x800, 0x2000, 0x8000, 0x8000_0000] {
            let text = try message { $0.features.formUnion(BlobFeatures(rawValue: bit)) }
            #expect(text.hasPrefix("blob …: features 0x"))
        }
    }

    @Test func aLayerFetchedWholeHasItsMetadataElsewhere() throws {
        var blob = Images.blob(1)
        blob.features.insert([.whole, .separate])
        blob.compressor = .none
        blob.metadata = MetadataBlob(digest: .zero, size: 1)
        func check(_ change: (inout BlobTableEntry) -> Void) throws {
            var changed = blob
            change(&changed)
            let image = try Images.bootstrap(FileTree(), blobs: [changed])
            try BootstrapLayout(image.rawSpan).checkReadable()
        }
        try check { _ in }
        let changes: [(inout BlobTableEntry) -> Void] = [
            { $0.features.remove(.separate) }, { $0.compressor = .zstd },
            { $0.features.insert(.zran) }, { $0.features.insert(.batch) },
        ]
        for change in changes {
            let error = #expect(throws: ContentError.self) { try check(change) }
            #expect(error?.kind == .corrupt)
        }
    }

    @Test func entriesOfTheBlobTableComeBack() throws {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<50 {
            var blob = Images.blob(1)
            blob.chunkCount = UInt32.random(in: 1...1 << 24, using: &generator)
            blob.compressedSize = UInt64.random(in: 0...1 << 40, using: &generator)
            blob.uncompressedSize = UInt64.random(in: 0..<1 << 32, using: &generator) * 4096
            blob.chunkInfo.offset = UInt64.random(in: 0...1 << 40, using: &generator)
            blob.chunkInfo.compressedSize = UInt64.random(in: 0..<1 << 32, using: &generator)
            blob.chunkInfo.uncompressedSize = UInt64.random(in: 0..<1 << 32, using: &generator)
            blob.chunkInfo.compressor = .zstd
            let image = try Images.bootstrap(FileTree(), blobs: [blob])
            #expect(try BootstrapLayout(image.rawSpan).blobs == [blob])
        }
    }
}
