// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@testable import RAFS

@Suite("What a blob carries of its layer")
struct LayerMetadataTests {
    private static let contents = [lines(700), lines(3), [1]]

    /// A layer with a whiteout, an implicit directory and a file of all chunks.
    private static func tree() -> FileTree {
        var tree = FileTree()
        var file = FileTree.Node(type: .regular, attributes: .implicitDirectory)
        file.size = UInt64(contents[0].count)
        file.chunks = [ChunkAddress(blob: 0, index: 0)]
        let whiteout = FileTree.Node(type: .regular, attributes: .implicitDirectory)
        var small = file
        small.size = UInt64(contents[1].count)
        small.chunks = [ChunkAddress(blob: 0, index: 1)]
        let directory = tree.add(.implicitDirectory)
        tree[FileTree.root].children = [
            FileName("file"): tree.add(file), FileName("d"): directory,
            FileName(".wh.gone"): tree.add(whiteout),
        ]
        tree[directory].children[FileName("small")] = tree.add(small)
        return tree
    }

    /// The layer's blob; its third chunk is that of a file which a later entry has replaced.
    private static func blob(blobs extra: [BlobTableEntry] = []) throws -> [UInt8] {
        var blob = BlobWriter(to: ArraySink(), chunkSize: 1 << 16, compressor: .zstd)
        for content in contents {
            _ = try blob.append(
                stored: content.rawSpan,
                digest: StreamingDigest.digest(of: content),
                contentSize: UInt32(content.count)
            )
        }
        let entry = try blob.finishChunks()
        let chunks = blob.chunks
        var writer = BootstrapWriter(
            tree: tree(),
            blobs: [entry].compactMap { $0 } + extra,
            chunkSize: 1 << 16,
            flags: BootstrapWriter.flags(.zstd, blobs: [])
        )
        writer.marksImplicitDirectories = true
        let bootstrap = try writer.write { chunks[Int($0.index)] }
        return try blob.finish(bootstrap: bootstrap).bytes
    }

    @Test func isAllThatMergingNeeds() throws {
        let layer = try LayerMetadata(ArraySource(bytes: Self.blob()))
        #expect(layer.chunkSize == 1 << 16)
        #expect(layer.flags == BootstrapWriter.flags(.zstd, blobs: []))
        #expect(layer.entry?.id == BlobTableEntry.placeholderID)
        // Those as well that no file has any more: conversion knew them too.
        #expect(layer.chunks.map(\.digest) == Self.contents.map { StreamingDigest.digest(of: $0) })
        #expect(try ChunkInfoTable(file: layer.chunkInfoFile.rawSpan).count == 3)
        let names = layer.tree[FileTree.root].children
        #expect(names.keys.sorted().map { "\($0)" } == [".wh.gone", "d", "file"])
        let directory = try #require(names[FileName("d")])
        #expect(layer.tree[directory].isImplicit)
        #expect(layer.tree[FileTree.root].isImplicit)
    }

    @Test func aBootstrapOfSeveralBlobsIsRefused() throws {
        var other = try #require(try LayerMetadata(ArraySource(bytes: Self.blob())).entry)
        other.id = String(repeating: "a", count: 64)
        let blob = try Self.blob(blobs: [other])
        let error = #expect(throws: ContentError.self) {
            try LayerMetadata(ArraySource(bytes: blob))
        }
        #expect(error?.message == "the layer's bootstrap names 2 blobs")
    }

    @Test func aBlobWithoutABootstrapIsRefused() throws {
        for bytes in [[], [0], lines(400), [UInt8](repeating: 0, count: 5000)] {
            let error = #expect(throws: ContentError.self) {
                try LayerMetadata(ArraySource(bytes: bytes))
            }
            #expect(error?.message == "the blob carries no bootstrap of its layer")
        }
    }

    @Test func truncatedAndFlippedBlobsAreErrorsOrTheSameLayer() throws {
        let blob = try Self.blob()
        for count in stride(from: 0, to: blob.count, by: 509) {
            #expect(throws: ContentError.self) {
                try LayerMetadata(ArraySource(bytes: Array(blob.prefix(count))))
            }
        }
        // A flip in a chunk or in the padding of a header is not seen here; no flip is fatal.
        var errors = 0
        for flipped in bitFlips(of: blob, every: 331) {
            do throws(ContentError) {
                _ = try LayerMetadata(ArraySource(bytes: flipped))
            } catch {
                errors += 1
            }
        }
        #expect(errors > 20)
    }
}
