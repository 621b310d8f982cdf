// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import RAFS
import TestSupport
import Testing

/// Blobs that nydus made in 2022 and 2023, and what is known of them.
@Suite("Blobs of nydus")
struct ForeignBlobTests {
    /// All chunks of a blob, decompressed and verified, at their places in its view.
    private func view(_ stored: [UInt8], of blob: BlobTableEntry) throws -> [UInt8] {
        let parts = BlobParts(ArraySource(bytes: stored))
        let toc = try #require(try parts.tableOfContents())
        let info = try parts.chunkInfoFile(at: blob.chunkInfo)
        let table = try ChunkInfoTable(file: info.rawSpan)
        #expect(table.count == Int(blob.chunkCount))
        #expect(table.location == blob.chunkInfo)
        let carried = try toc.entry(named: BlobTOC.Name.chunkDigests).map { try parts.part($0) }
        let unknown = [UInt8](repeating: 0, count: table.count * Digest.byteCount)
        let digests = carried ?? unknown
        var view = [UInt8](repeating: 0, count: Int(blob.uncompressedSize))
        for index in 0..<table.count {
            let chunk = try table.chunk(at: index, table: info.rawSpan, digests: digests.rawSpan)
            let start = Int(chunk.compressedOffset.bytes)
            let bytes = Array(stored[start..<start + Int(chunk.compressedSize)])
            let content =
                chunk.isCompressed
                ? try blob.compressor.decompress(
                    bytes.rawSpan,
                    expectedSize: Int(chunk.uncompressedSize),
                    limit: 1 << 24
                ) : bytes
            if carried != nil {
                #expect(blob.digester.digest(of: content.rawSpan) == chunk.digest)
            }
            let place = Int(chunk.uncompressedOffset.bytes)
            view.replaceSubrange(place..<place + content.count, with: content)
        }
        return view
    }

    @Test(.enabled(if: Fixtures.folder != nil, "\(Fixtures.reason)"))
    func chunksHaveTheirBLAKE3Digests() throws {
        let bootstrap = Fixtures.bytes("nydus/bootstrap/rafs-v6-2.2.boot")
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        try layout.checkReadable()
        let blob = try #require(layout.blobs.first)
        #expect(blob.coding == ChunkCoding(compressor: .zstd, digester: .blake3))
        let found = try view(Fixtures.bytes("nydus/blobs/\(blob.id)"), of: blob)
        #expect(found == Fixtures.bytes("expected/rafs-v6-2.2.be7d77ee.blob.data"))
        let tree = Bootstrap(bytes: bootstrap.rawSpan, layout: layout)
        let names = try tree.tree()[FileTree.root].children.keys.sorted().map { "\($0)" }
        #expect(names == ["lib.rs", "sync_io.rs"])
        // The bootstrap's own records say the same digests.
        let stored = Fixtures.bytes("nydus/blobs/\(blob.id)")
        let parts = BlobParts(ArraySource(bytes: stored))
        let entry = try #require(
            try parts.tableOfContents()?.entry(named: BlobTOC.Name.chunkDigests)
        )
        let recorded = try tree.recordedDigests(ofBlob: 0)
        #expect(try parts.part(entry) == recorded)
    }

    @Test(.enabled(if: Fixtures.folder != nil, "\(Fixtures.reason)"))
    func firstTablesOfContentsAreRead() throws {
        let name = "2fa78cad554b75ac91a4a125ed148d0ddeb25efa4aaa8bd80e5dc292690a4dca"
        let stored = Fixtures.bytes("nydus/toc/\(name)")
        let parts = BlobParts(ArraySource(bytes: stored))
        let toc = try #require(try parts.tableOfContents())
        let boot = try #require(toc.entry(named: BlobTOC.Name.bootstrap))
        let bootstrap = try parts.part(boot)
        #expect(bootstrap == Fixtures.bytes("expected/toc-2fa78cad.image.boot"))
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        try layout.checkReadable()
        let blob = try #require(layout.blobs.first)
        let view = try view(stored, of: blob)
        let tree = Bootstrap(bytes: bootstrap.rawSpan, layout: layout)
        // No digests are carried: the bootstrap's records have them.
        try tree.forEachChunkRecord { (record) throws(ContentError) in
            let start = Int(record.chunk.uncompressedOffset.bytes)
            let content = Array(view[start..<start + Int(record.chunk.uncompressedSize)])
            guard blob.digester.digest(of: content.rawSpan) == record.chunk.digest else {
                throw .corrupt("chunk \(record.address.index)")
            }
        }
    }
}

/// A blob in memory.
struct ArraySource: BlobSource {
    var bytes: [UInt8]

    var size: UInt64 { UInt64(bytes.count) }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let start = Int(offset.bytes)
        guard start + buffer.count <= bytes.count else { throw .truncated("past the end") }
        unsafe buffer.copyBytes(from: bytes[start..<start + buffer.count])
    }
}
