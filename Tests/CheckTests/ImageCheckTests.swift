// SPDX-License-Identifier: Apache-2.0

import Check
import Compression
import Content
import Distribution
import OCI
import RAFS
import TestSupport
import Testing

@Suite("Image check")
struct ImageCheckTests {
    /// Checks an image made with a change, and gives what is said of it: "right" if nothing.
    private func result(
        threads: Int = 2,
        _ change: (inout ConvertedLayout) -> Void
    ) throws -> String {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "converted")
        var converted = ConvertedLayout()
        change(&converted)
        try converted.store(in: layout)
        let blob = try layout.resolve().manifest.layers[0].digest
        do {
            _ = try ImageCheck(layout, threads: threads).run(against: nil)
            return "right"
        } catch let error as ContentError {
            return error.message.replacing("\(blob)", with: "…")
        }
    }

    @Test func aRightImageIsCounted() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "converted")
        try ConvertedLayout().store(in: layout)
        let report = try ImageCheck(layout, threads: 1).run(against: nil)
        #expect(report.nameCount == 2)
        #expect(report.chunkCount == 2)
        #expect(report.contentSize == 4796)
        #expect(report.differences.isEmpty)
        var text: [String] = []
        try ImageCheck(layout, threads: 1).dump { text.append($0) }
        #expect(text.first == "rafs-v6 chunk-size=4096 flags=0x1000198")
        #expect(
            text.last
                == "/file regular 0644 1000:1001 1700000000.000000000 size=4796 chunks=0:0,0:1"
        )
    }

    @Test func aChunkOfOtherContentIsNamed() throws {
        let found = StreamingDigest.digest(of: ConvertedLayout().contents[1])
        let other = StreamingDigest.digest(of: [1])
        let text = try result { $0.chunkDigest = { $0 == 1 ? other : $1 } }
        #expect(text.hasPrefix("blob …: chunk 1 at "))
        #expect(text.hasSuffix("digest mismatch: expected \(other), found \(found.hex)"))
        #expect(
            try result { $0.chunkDigest = { $0 == 1 ? .zero : $1 } }
                .contains("nobody says the digest of chunk 1 of blob 0")
        )
    }

    @Test func aChunkThatCannotBeDecompressedIsNamed() throws {
        #expect(
            try result { $0.blob = { $0.replaceSubrange(0..<4, with: [0, 0, 0, 0]) } }
                == "blob …: chunk 0 at 0: no zstd frame at offset 0 of the chunk"
        )
    }

    @Test func aBlobOfOtherBytesIsNamed() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "converted")
        try ConvertedLayout().store(in: layout)
        let blob = try layout.resolve().manifest.layers[0].digest
        let path = "blobs/sha256/\(blob.hex)"
        let bytes = directory.read(path)
        for place in [0, 100, bytes.count / 2, bytes.count - 1] {
            var broken = bytes
            broken[place] ^= 1
            directory.write(path, broken)
            let error = #expect(throws: ContentError.self) {
                try ImageCheck(layout, threads: 2).run(against: nil)
            }
            // That the whole blob is another says more than its first chunk.
            #expect(
                error?.message.hasPrefix("blob \(blob): digest mismatch: expected \(blob)") == true
            )
        }
        directory.write(path, Array(bytes.dropLast()))
        let error = #expect(throws: ContentError.self) {
            try ImageCheck(layout, threads: 2).run(against: nil)
        }
        #expect(error?.message.contains(blob.hex) == true)
    }

    @Test func wrongDiffIDsAreNamed() throws {
        #expect(
            try result { $0.diffIDs = { [.zero] + $0.dropFirst() } }
                .hasSuffix("data blob … has diffID \(Digest.zero), expected its digest")
        )
        let text = try result { $0.diffIDs = { $0.dropLast() + [.zero] } }
        #expect(text.contains("expected \(Digest.zero)"))
        #expect(text.contains(": layer sha256:"))
    }

    @Test func recordsThatContradictAreNamed() throws {
        // The bootstrap's chunk table against the blob's records.
        #expect(
            try result { $0.chunk = { index, chunk in changed(chunk) { $0.compressedSize += 1 } } }
                .contains("the blob's own record says otherwise")
        )
        #expect(
            try result {
                $0.infoChunk = { index, chunk in
                    changed(chunk) { if index == 1 { $0.uncompressedOffset.bytes = 8192 } }
                }
            }.contains("chunk table: chunk 1 of blob 0: the blob's own record says otherwise")
        )
        #expect(
            try result { $0.entry = { $0.chunkCount = 3 } }
                .contains("has 2 chunks and 64 bytes of digests, the bootstrap says 3 chunks")
        )
        #expect(
            try result { $0.entry = { $0.chunkInfo.offset += 1 } }
                .contains("by its own header, at")
        )
        #expect(
            try result { $0.entry = { $0.id = String(repeating: "0", count: 64) } }
                .contains("which the manifest does not list")
        )
    }

    @Test func chunksThatOverlapInTheViewAreNamed() throws {
        func overlap(_ index: Int, _ chunk: Chunk) -> Chunk {
            changed(chunk) { $0.uncompressedOffset.bytes = 0 }
        }
        #expect(
            try result {
                $0.chunk = overlap
                $0.infoChunk = overlap
            } == "blob …: chunk 1 is said to be at 0+700 of a view of 8192 bytes, in which the one"
                + " before it ends at 4096"
        )
        func outside(_ index: Int, _ chunk: Chunk) -> Chunk {
            changed(chunk) { if index == 1 { $0.uncompressedOffset.bytes = 8192 } }
        }
        #expect(
            try result {
                $0.chunk = outside
                $0.infoChunk = outside
            } == "blob …: chunk 1 is said to be at 8192+700 of a view of 8192 bytes, in which the"
                + " one before it ends at 4096"
        )
        func gap(_ index: Int, _ chunk: Chunk) -> Chunk {
            changed(chunk) { if index == 1 { $0.compressedOffset.bytes += 1 } }
        }
        #expect(
            try result {
                $0.chunk = gap
                $0.infoChunk = gap
            }.contains("but the one before it ends at")
        )
    }

    private func changed(_ chunk: Chunk, _ body: (inout Chunk) -> Void) -> Chunk {
        var chunk = chunk
        body(&chunk)
        return chunk
    }

    @Test func brokenEndsOfBlobsAreNamed() throws {
        #expect(
            try result { $0.blob = { $0.append(contentsOf: [UInt8](repeating: 0, count: 512)) } }
                .contains("it does not end in a")
        )
        // The second of the table's five entries is the chunk-info table, the last the bootstrap.
        #expect(
            try result { $0.blob = { $0[$0.count - 512 - 4 * 128 + 24] ^= 1 } }
                .contains("part blob.meta: digest mismatch")
        )
        #expect(
            try result { $0.blob = { $0[$0.count - 512 - 4 * 128 + 8] = 0x63 } }
                == "blob …: it carries no chunk-info table"
        )
        #expect(
            try result { $0.blob = { $0[$0.count - 512 - 128 + 8] = 0x63 } }
                == "blob …: it carries no bootstrap of its layer"
        )
        #expect(
            try result {
                $0.blob = { $0.replaceSubrange($0.count - 512 - 1..<$0.count - 512, with: []) }
            }
            .hasPrefix("blob …: ")
        )
    }

    private func source(
        _ directory: borrowing TemporaryDirectory,
        _ tar: [UInt8]
    ) throws -> OCILayout {
        let layout = OCILayout(directory: "\(directory.path)/source", tag: "source")
        let blob = try layout.putBlob(tar, mediaType: .layer)
        let config = #"{"os":"linux","rootfs":{"type":"layers","diff_ids":["\#(blob.digest)"]}}"#
        let manifest = Manifest(
            config: try layout.putBlob(Array(config.utf8), mediaType: .config),
            layers: [blob]
        )
        _ = try layout.put(manifest: manifest.serialized(), mediaType: .manifest, tag: "source")
        return layout
    }

    private func differences(_ tar: [UInt8]) throws -> [String] {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "converted")
        try ConvertedLayout().store(in: layout)
        let original = try source(directory, tar + TarBlocks.end)
        return try ImageCheck(layout, threads: 2).run(against: original).differences
    }

    @Test func theSourceIsComparedWithTheWholeTree() throws {
        let content = Array(ConvertedLayout().contents.joined())
        #expect(try differences(TarBlocks.file("file", content)).isEmpty)
        var other = content
        other[4500] ^= 1
        let digests = [content, other].map { StreamingDigest.digest(of: Array($0[4096...])) }
        #expect(
            try differences(TarBlocks.file("file", other))
                == [
                    "/file: content of chunk 1 is \(digests[0].hex), in the source \(digests[1].hex)"
                ]
        )
        #expect(
            try differences(
                TarBlocks.file("other", content) + TarBlocks.file("file", content + [1])
            )
                == [
                    "/other: missing from the image", "/file: size is 4796, in the source 4797",
                ]
        )
        #expect(
            try differences(
                TarBlocks.pax([("SCHILY.xattr.system.nfs4_acl", "x")])
                    + TarBlocks.file("file", content)
            ) == ["/file: xattr system.nfs4_acl is not set, in the source x"]
        )
    }

    @Test func anOrdinaryImageIsNotChecked() throws {
        let directory = TemporaryDirectory()
        let layout = try source(directory, TarBlocks.end)
        let error = #expect(throws: ContentError.self) {
            try ImageCheck(layout, threads: 1).run(against: nil)
        }
        #expect(error?.kind == .unsupported)
    }
}
