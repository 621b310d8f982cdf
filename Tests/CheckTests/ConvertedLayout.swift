// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import OCI
import RAFS
import TestSupport

/// A converted image of one layer with one file, made part by part, so that each can be wrong.
struct ConvertedLayout {
    /// The file's content, by chunk of 4096 bytes.
    var contents: [[UInt8]] = [Array(lines(200).prefix(4096)), Array(lines(90).suffix(700))]
    /// Changes the chunk's digest that the image tells.
    var chunkDigest: (Int, Digest) -> Digest = { $1 }
    /// Changes the records of the chunk-info table that the bootstrap layer carries.
    var infoChunk: (Int, Chunk) -> Chunk = { $1 }
    /// Changes the records that the bootstrap is written from.
    var chunk: (Int, Chunk) -> Chunk = { $1 }
    /// Changes the blob's entry in the bootstrap.
    var entry: (inout BlobTableEntry) -> Void = { _ in }
    /// Changes the blob before it is stored, under the digest that it then has.
    var blob: (inout [UInt8]) -> Void = { _ in }
    /// Changes the tree.
    var tree: (inout FileTree) -> Void = { _ in }
    /// Gives the diffIDs in the configuration for the right ones.
    var diffIDs: ([Digest]) -> [Digest] = { $0 }

    /// Stores the image.
    func store(in layout: OCILayout) throws {
        let tree = fileTree()
        var writer = BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .zstd)
        for (index, content) in contents.enumerated() {
            let compressed = try ZstdBuffer.compress(content)
            _ = try writer.append(
                stored: compressed.rawSpan,
                digest: chunkDigest(index, StreamingDigest.digest(of: content)),
                contentSize: UInt32(content.count)
            )
        }
        guard var entry = try writer.finishChunks() else { throw ContentError.corrupt("empty") }
        let chunks = writer.chunks
        var infoFile = writer.chunkInfoFile
        infoFile.replaceSubrange(
            0..<chunks.count * 16,
            with: ChunkInfoTable.encode(chunks.enumerated().map { infoChunk($0, $1) })
        )
        let own = try bootstrap(tree, entry, chunks)
        var blob = try writer.finish(bootstrap: own).bytes
        self.blob(&blob)
        let stored = try layout.putBlob(blob, mediaType: .nydusBlob)
        entry.id = stored.digest.hex
        entry.compressedSize = stored.size
        self.entry(&entry)
        let merged = try bootstrap(tree, entry, chunks.enumerated().map { chunk($0, $1) })
        let path = "image/\(stored.digest.hex)"
        let tar =
            TarBlocks.file("image/image.boot", merged)
            + TarBlocks.file("\(path).blob.meta", infoFile)
            + TarBlocks.file("\(path).blob.digest", chunks.flatMap { $0.digest.bytes })
            + TarBlocks.end
        try put(stored, tar, in: layout)
    }

    private func fileTree() -> FileTree {
        var tree = FileTree()
        var node = FileTree.Node(
            type: .regular,
            attributes: FileAttributes(
                permissions: 0o644,
                userID: 1000,
                groupID: 1001,
                modificationSeconds: 1_700_000_000
            )
        )
        node.size = UInt64(contents.reduce(0) { $0 + $1.count })
        node.chunks = contents.indices.map { ChunkAddress(blob: 0, index: UInt32($0)) }
        let id = tree.add(node)
        tree[FileTree.root].children[FileName("file")] = id
        self.tree(&tree)
        return tree
    }

    private func bootstrap(
        _ tree: FileTree,
        _ entry: BlobTableEntry,
        _ chunks: [Chunk]
    ) throws(ContentError) -> [UInt8] {
        let writer = BootstrapWriter(
            tree: tree,
            blobs: [entry],
            chunkSize: 4096,
            flags: BootstrapWriter.flags(.zstd, blobs: [])
        )
        return try writer.write { chunks[Int($0.index)] }
    }

    private func put(_ blob: Descriptor, _ tar: [UInt8], in layout: OCILayout) throws {
        var blob = blob
        blob.annotations[NydusAnnotation.blob] = "true"
        var last = try layout.putBlob(GzipEncoder.compress(tar), mediaType: .layerGzip)
        last.annotations[NydusAnnotation.bootstrap] = "true"
        let ids = diffIDs([blob.digest, StreamingDigest.digest(of: tar)])
        let texts = ids.map { "\"\($0)\"" }.joined(separator: ",")
        let config = #"{"os":"linux","rootfs":{"type":"layers","diff_ids":[\#(texts)]}}"#
        let manifest = Manifest(
            config: try layout.putBlob(Array(config.utf8), mediaType: .config),
            layers: [blob, last]
        )
        _ = try layout.put(manifest: manifest.serialized(), mediaType: .manifest, tag: "converted")
    }
}
