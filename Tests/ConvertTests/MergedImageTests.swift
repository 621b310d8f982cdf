// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import RAFS
import TestSupport
import Testing

@testable import Convert

@Suite("Merged image")
struct MergedImageTests {
    /// A layer of chunks with digests of these bytes, and of files, each of some of the chunks.
    private func layer(
        _ number: UInt8,
        chunks: [UInt8],
        files: [String: [Int]],
        whiteouts: [String] = []
    ) -> ConvertedLayer {
        var tree = FileTree()
        for (name, indexes) in files {
            var node = FileTree.Node(type: .regular, attributes: .implicitDirectory)
            node.chunks = indexes.map { ChunkAddress(blob: 0, index: UInt32($0)) }
            node.size = UInt64(indexes.count) * 4096
            let id = tree.add(node)
            tree[FileTree.root].children[FileName(name)] = id
        }
        for name in whiteouts {
            let id = tree.add(FileTree.Node(type: .regular, attributes: .implicitDirectory))
            tree[FileTree.root].children[FileName(".wh.\(name)")] = id
        }
        let size = UInt64(chunks.count) * 4096
        return ConvertedLayer(
            blob: Descriptor(mediaType: .nydusBlob, digest: digest(number), size: 1_000_000),
            entry: chunks.isEmpty ? nil : entry(chunks.count, size),
            chunks: chunks.enumerated().map { index, byte in
                Chunk(
                    digest: digest(byte),
                    compressedOffset: CompressedOffset(UInt64(index) * 4096),
                    compressedSize: 4096,
                    uncompressedOffset: UncompressedOffset(UInt64(index) * 4096),
                    uncompressedSize: 4096
                )
            },
            chunkInfoFile: [],
            tree: tree,
            warnings: []
        )
    }

    private func entry(_ count: Int, _ size: UInt64) -> BlobTableEntry {
        BlobTableEntry(
            id: BlobTableEntry.placeholderID,
            chunkCount: UInt32(count),
            chunkSize: 4096,
            compressor: .zstd,
            digester: .sha256,
            features: .written.union(.inlinedBootstrap),
            compressedSize: size,
            uncompressedSize: size,
            chunkInfo: ChunkInfoLocation(
                compressor: .none,
                offset: size,
                compressedSize: 16,
                uncompressedSize: 16
            )
        )
    }

    private func digest(_ byte: UInt8) -> Digest {
        Digest(bytes: [UInt8](repeating: byte, count: 32)) ?? .zero
    }

    private func chunks(_ image: MergedImage, _ name: String) -> [String] {
        guard let id = image.tree[FileTree.root].children[FileName(name)] else { return ["none"] }
        return image.tree[id].chunks.map { "\($0.blob):\($0.index)" }
    }

    @Test func blobsAreNumberedByFirstUseAndTheUnusedLeftOut() throws {
        let image = try MergedImage([
            layer(0xa0, chunks: [1], files: ["hidden": [0]]),
            layer(0xa1, chunks: [2, 3], files: ["z": [0, 1]]),
            layer(0xa2, chunks: [], files: [:], whiteouts: ["hidden"]),
            layer(0xa3, chunks: [4, 5], files: ["a": [1], "b": [0]]),
        ])
        #expect(image.blobs.map(\.digest) == [digest(0xa3), digest(0xa1)])
        #expect(chunks(image, "a") == ["0:1"])
        #expect(chunks(image, "b") == ["0:0"])
        #expect(chunks(image, "z") == ["1:0", "1:1"])
        #expect(chunks(image, "hidden") == ["none"])
    }

    @Test func equalChunksComeFromTheLowestBlob() throws {
        let image = try MergedImage([
            layer(0xa0, chunks: [1, 2], files: ["low": [0]]),
            layer(0xa1, chunks: [3, 2, 1], files: ["high": [0, 1, 2]]),
        ])
        #expect(chunks(image, "high") == ["0:0", "1:1", "1:0"])
        #expect(chunks(image, "low") == ["1:0"])
        // All of an upper blob's chunks may be in lower ones: it is not needed at all then.
        let same = try MergedImage([
            layer(0xa0, chunks: [1], files: ["low": [0]]),
            layer(0xa1, chunks: [1], files: ["low": [0], "x": [0, 0]]),
        ])
        #expect(same.blobs.map(\.digest) == [digest(0xa0)])
        #expect(chunks(same, "x") == ["0:0", "0:0"])
    }

    @Test func theBootstrapNamesTheWholeBlobs() throws {
        let image = try MergedImage([layer(0xa0, chunks: [1, 2], files: ["f": [0, 1]])])
        let bytes = try image.bootstrap(ConversionOptions(threads: 1, chunkSize: 4096))
        let layout = try BootstrapLayout(bytes.rawSpan)
        #expect(layout.blobs.map(\.id) == [digest(0xa0).hex])
        #expect(layout.blobs.map(\.compressedSize) == [1_000_000])
        #expect(layout.blobs.map(\.features) == [.written])
        #expect(try Bootstrap(bytes: bytes.rawSpan, layout: layout).tree().nodeCount == 2)
    }

    @Test func anImageWithoutContentHasNoBlobs() throws {
        let image = try MergedImage([layer(0xa0, chunks: [], files: ["empty": []])])
        let bytes = try image.bootstrap(ConversionOptions(threads: 1, chunkSize: 4096))
        #expect(try BootstrapLayout(bytes.rawSpan).blobs.isEmpty)
        #expect(try MergedImage([]).blobs.isEmpty)
    }

    @Test func moreBlobsThanTheFormatNumbersAreAnError() throws {
        let layers = (0..<300).map { number in
            var layer = layer(1, chunks: [1], files: ["f\(number)": [0]])
            let text = String(repeating: "0", count: 60) + String(10_000 + number).suffix(4)
            layer.chunks[0].digest = Digest(hex: text) ?? .zero
            layer.blob.digest = layer.chunks[0].digest
            return layer
        }
        let most = try MergedImage(Array(layers.prefix(254)))
        #expect(throws: Never.self) {
            try most.bootstrap(ConversionOptions(threads: 1, chunkSize: 4096))
        }
        let image = try MergedImage(layers)
        let error = #expect(throws: ContentError.self) {
            try image.bootstrap(ConversionOptions(threads: 1, chunkSize: 4096))
        }
        #expect(error?.message == "300 data blobs; a RAFS v6 image has at most 254")
    }
}
