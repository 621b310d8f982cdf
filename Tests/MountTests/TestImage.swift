// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import Linux
import OCI
import RAFS
import TestSupport

/// A converted image in memory, whose parts a test can damage.
struct TestImage: Sendable {
    /// What is done to the image before it is opened.
    enum Damage: CaseIterable {
        case none
        /// The bootstrap layer carries neither chunk-info tables nor digests.
        case withoutTables
        /// A digest in the bootstrap layer's file is another than in the bootstrap.
        case otherDigest
        /// The file of digests is too short.
        case shortDigests
        /// The bootstrap names a blob that the manifest does not list.
        case unlistedBlob
        /// The bootstrap layer's bytes are not those of its digest.
        case corruptLayer
    }

    static let chunkSize = 4096
    /// `file`: two full chunks and a part of one, of which the first is stored compressed.
    static let fileContent = [UInt8](repeating: 7, count: 4096) + (0..<5_000).map(noise)
    static let otherContent = (0..<100).map { noise($0 + 1_000_000) }

    /// `sparse`: data, three chunks of zeros, data, and zeros up to the end.
    static let sparseContent =
        (0..<4096).map(noise) + [UInt8](repeating: 0, count: 3 * 4096) + (0..<5_000).map(noise)
        + [UInt8](repeating: 0, count: 3 * 4096 - 5_000 + 700)

    let source: MemorySource

    static func noise(_ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: (UInt64(index) &+ 1) &* 0x9e37_79b9_7f4a_7c15 >> 37)
    }

    init(_ damage: Damage = .none, hasHoles: Bool = false) throws {
        var builder = Builder()
        let tree = try builder.makeTree(hasHoles: hasHoles)
        source = try builder.finish(tree, damage)
    }

    private struct Builder {
        var writer = BlobWriter(
            to: ArraySink(),
            chunkSize: UInt32(TestImage.chunkSize),
            compressor: .zstd
        )
        var stored: [UInt8] = []

        mutating func addFile(
            _ content: [UInt8],
            permissions: UInt16 = 0o644
        ) throws -> FileTree.Node {
            var node = FileTree.Node(
                type: .regular,
                attributes: FileAttributes(permissions: permissions, userID: 5, groupID: 6)
            )
            node.size = UInt64(content.count)
            var compressor = try ChunkCompressor()
            for start in stride(from: 0, to: content.count, by: TestImage.chunkSize) {
                let end = min(start + TestImage.chunkSize, content.count)
                let part = Array(content[start..<end])
                var frame: [UInt8] = []
                let isSmaller = try compressor.compress(part.rawSpan, into: &frame)
                let bytes = isSmaller ? frame : part
                let index = try writer.append(
                    stored: bytes.rawSpan,
                    digest: StreamingDigest.digest(of: part),
                    contentSize: UInt32(part.count)
                )
                stored += bytes
                node.chunks.append(ChunkAddress(blob: 0, index: index))
            }
            return node
        }

        mutating func makeTree(hasHoles: Bool) throws -> FileTree {
            var tree = FileTree()
            var file = try addFile(TestImage.fileContent, permissions: 0o4755)
            file.attributes.modificationSeconds = -10
            file.attributes.modificationNanoseconds = 123
            file.xattrs = [
                ExtendedAttribute(
                    name: Array("trusted.overlay.opaque".utf8),
                    value: Array("y".utf8)
                ),
                ExtendedAttribute(name: Array("user.colour".utf8), value: Array("blue".utf8)),
            ]
            let other = try addFile(TestImage.otherContent)
            var link = FileTree.Node(
                type: .symlink,
                attributes: FileAttributes(permissions: 0o777)
            )
            link.target = Array("file".utf8)
            var device = FileTree.Node(
                type: .characterDevice,
                attributes: FileAttributes(permissions: 0o600)
            )
            device.device = DeviceNumber(major: 1, minor: 3)
            var nodes = [("file", file), ("other", other), ("link", link), ("device", device)]
            if hasHoles { nodes.append(("sparse", try addFile(TestImage.sparseContent))) }
            for (name, node) in nodes {
                let id = tree.add(node)
                tree[FileTree.root].children[FileName(name)] = id
                if name == "other" { tree[FileTree.root].children[FileName("hard")] = id }
            }
            let directory = tree.add(.implicitDirectory)
            tree[FileTree.root].children[FileName([0x64, 0xff])] = directory
            return tree
        }

        mutating func finish(_ tree: FileTree, _ damage: Damage) throws -> MemorySource {
            guard var entry = try writer.finishChunks() else {
                throw ContentError.corrupt("the test image has chunks")
            }
            // Only chunk data is needed of the blob: everything else is in the bootstrap layer.
            let blob = StreamingDigest.digest(of: stored)
            entry.id = blob.hex
            entry.features.remove(.inlinedBootstrap)
            let chunks = writer.chunks
            let bootstrap = try BootstrapWriter(
                tree: tree,
                blobs: [entry],
                chunkSize: UInt32(TestImage.chunkSize),
                flags: BootstrapWriter.flags(.zstd, blobs: [])
            ).write { chunks[Int($0.index)] }
            var digests = chunks.flatMap { $0.digest.bytes }
            if damage == .otherDigest { digests[40] ^= 1 }
            if damage == .shortDigests { digests.removeLast() }
            var tar = TarBlocks.file("image/image.boot", bootstrap)
            if damage != .withoutTables {
                tar += TarBlocks.file("image/\(blob.hex).blob.meta", writer.chunkInfoFile)
                tar += TarBlocks.file("image/\(blob.hex).blob.digest", digests)
            }
            tar += [UInt8](repeating: 0, count: 1024)
            return try MemorySource(blob: stored, bootstrapLayer: tar, damage)
        }
    }
}

/// An image source in memory, with one data blob.
final class MemorySource: ImageSource {
    let name = "test:image"
    private let image: ResolvedImage
    private let bootstrapLayer: [UInt8]
    private let blob: Monitor<[UInt8]>

    init(blob: [UInt8], bootstrapLayer: [UInt8], _ damage: TestImage.Damage) throws {
        let blobDigest = StreamingDigest.digest(of: blob)
        let layerDigest = StreamingDigest.digest(of: bootstrapLayer)
        let listed = damage == .unlistedBlob ? StreamingDigest.digest(of: [1]) : blobDigest
        let config = Array(
            """
            {"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[
            "\(listed)","\(layerDigest)"]}}
            """.utf8
        )
        let manifest = Manifest(
            config: Descriptor(
                mediaType: .config,
                digest: StreamingDigest.digest(of: config),
                size: UInt64(config.count)
            ),
            layers: [
                Descriptor(mediaType: .nydusBlob, digest: listed, size: UInt64(blob.count)),
                Descriptor(
                    mediaType: .layer,
                    digest: layerDigest,
                    size: UInt64(bootstrapLayer.count),
                    annotations: [NydusAnnotation.bootstrap: "true"]
                ),
            ]
        ).serialized()
        image = try ResolvedImage(
            descriptor: Descriptor(
                mediaType: .manifest,
                digest: StreamingDigest.digest(of: manifest),
                size: UInt64(manifest.count)
            ),
            manifestBytes: manifest,
            configBytes: { _ in config }
        )
        var layer = bootstrapLayer
        if damage == .corruptLayer { layer[layer.count - 2000] ^= 1 }
        self.bootstrapLayer = layer
        self.blob = Monitor(blob)
    }

    /// Changes a byte of the data blob.
    func corrupt(at offset: Int) { blob.update { $0[offset] ^= 1 } }

    func resolve() throws -> ResolvedImage { image }

    func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        AnyByteStream(ArrayStream(bootstrapLayer))
    }

    func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        Ranges(size: blob.size, bytes: self.blob)
    }

    private struct Ranges: BlobSource {
        let size: UInt64
        let bytes: Monitor<[UInt8]>

        func fetch(
            at offset: CompressedOffset,
            into buffer: UnsafeMutableRawBufferPointer
        ) throws(ContentError) {
            let start = Int(offset.bytes)
            let part = bytes.update { Array($0[start..<start + buffer.count]) }
            unsafe buffer.copyBytes(from: part)
        }
    }
}
