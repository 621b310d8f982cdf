// SPDX-License-Identifier: Apache-2.0

package import Content

/// What a converted image's bootstrap layer holds, in memory.
package struct ImageMetadata: Sendable {
    /// One blob's chunk records: as the bootstrap layer carries them, else as the blob itself does.
    package struct BlobChunks: CheckpointTable {
        /// The chunk-info table's header.
        package let table: ChunkInfoTable
        /// The chunk-info table in its file form.
        package let infoFile: [UInt8]
        /// The chunks' digests; zeros where nobody says one.
        package let digests: [UInt8]
        /// How the chunks are stored and named.
        package let coding: ChunkCoding
        /// The size of the blob's uncompressed view, in bytes.
        package let viewSize: UInt64

        /// The record of a chunk.
        ///
        /// - Parameter index: the chunk's index.
        /// - Returns: the record; its digest is zero where nobody says one.
        /// - Throws: `ContentError` if the index or the record is out of bounds.
        package func chunk(at index: Int) throws(ContentError) -> Chunk {
            try table.chunk(at: index, table: infoFile.rawSpan, digests: digests.rawSpan)
        }

        package func withCheckpoint(
            _ index: UInt32,
            _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
        ) throws(ContentError) {
            try table.withCheckpoint(index, in: infoFile.rawSpan, body)
        }
    }

    /// The bootstrap.
    package let bootstrap: [UInt8]
    /// Its checked layout.
    package let layout: BootstrapLayout
    /// The chunk records by blob index.
    package let blobs: [BlobChunks]

    /// Takes what the bootstrap layer holds, and checks that its parts agree.
    ///
    /// nydus' layers lack the digests, older ones the chunk-info tables as well: these are then read
    /// from the blobs.
    ///
    /// - Parameters:
    ///   - bootstrap: the bootstrap.
    ///   - chunkInfo: gives a blob's chunk-info table in its file form, if the layer has it.
    ///   - chunkDigests: gives the digests of a blob's chunks, if the layer has them.
    ///   - blobSource: gives the place of a blob.
    ///   - metadataBlob: gives the bytes of a blob that holds another one's metadata.
    /// - Throws: an error that names what is missing or wrong.
    package init(
        bootstrap: [UInt8],
        chunkInfo: (Digest) -> [UInt8]?,
        chunkDigests: (Digest) -> [UInt8]?,
        blobSource: (Digest) throws -> any BlobSource,
        metadataBlob: (Digest) throws -> [UInt8]
    ) throws {
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        try layout.checkReadable()
        self.bootstrap = bootstrap
        self.layout = layout
        blobs = try layout.blobs.enumerated().map { index, blob in
            guard let digest = blob.digest else {
                throw ContentError.corrupt("blob \(index) of the bootstrap has no digest as its id")
            }
            let id = blob.metadata?.digest ?? digest
            let parts = BlobParts(
                blob.metadata == nil ? try blobSource(id) : MemoryBlob(try metadataBlob(id))
            )
            return try Self.chunks(
                of: blob,
                chunkInfo(id) ?? parts.chunkInfoFile(at: blob.chunkInfo),
                chunkDigests(id) ?? Self.digests(in: parts)
                    ?? Bootstrap(bytes: bootstrap.rawSpan, layout: layout)
                    .recordedDigests(ofBlob: index)
            )
        }
    }

    /// Takes the bootstrap that a data blob carries of its own layer, and what else it holds.
    ///
    /// - Parameters:
    ///   - bootstrap: the bootstrap; the id that it has for the blob means nothing.
    ///   - parts: the blob's.
    /// - Throws: `ContentError` if the bootstrap names several blobs, or naming what is wrong.
    init(inlined bootstrap: [UInt8], in parts: BlobParts) throws(ContentError) {
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        try layout.checkReadable()
        guard layout.blobs.count <= 1 else {
            throw .unsupported("the layer's bootstrap names \(layout.blobs.count) blobs")
        }
        self.bootstrap = bootstrap
        self.layout = layout
        var blobs: [BlobChunks] = []
        for blob in layout.blobs {
            var digests = try Self.digests(in: parts)
            if digests == nil {
                let view = Bootstrap(bytes: bootstrap.rawSpan, layout: layout)
                digests = try view.recordedDigests(ofBlob: 0)
            }
            let infoFile = try parts.chunkInfoFile(at: blob.chunkInfo)
            blobs.append(try Self.chunks(of: blob, infoFile, digests ?? []))
        }
        self.blobs = blobs
    }

    /// The digests of its chunks that a blob itself carries; nil if it does not.
    private static func digests(in parts: BlobParts) throws(ContentError) -> [UInt8]? {
        guard let entry = try parts.tableOfContents()?.entry(named: BlobTOC.Name.chunkDigests)
        else { return nil }
        return try parts.part(entry)
    }

    /// The blob's own record of a chunk; nil if the blob has no such chunk.
    ///
    /// - Parameter address: the chunk.
    /// - Returns: the record.
    /// - Throws: `ContentError` if the record is out of bounds.
    package func chunk(at address: ChunkAddress) throws(ContentError) -> Chunk? {
        guard Int(address.blob) < blobs.count,
            Int(address.index) < blobs[Int(address.blob)].table.count
        else { return nil }
        return try blobs[Int(address.blob)].chunk(at: Int(address.index))
    }

    /// The function that digests a blob's chunks; nil if there is no such blob.
    package func digester(ofBlob blob: UInt16) -> Digester? {
        Int(blob) < blobs.count ? blobs[Int(blob)].coding.digester : nil
    }

    private static func chunks(
        of blob: BlobTableEntry,
        _ infoFile: [UInt8],
        _ digests: [UInt8]
    ) throws(ContentError) -> BlobChunks {
        let table = try ChunkInfoTable(file: infoFile.rawSpan)
        guard table.location == blob.chunkInfo else {
            throw .corrupt(
                "blob \(blob.id): its chunk-info table is at \(table.location.offset)"
                    + "+\(table.location.compressedSize) by its own header, at"
                    + " \(blob.chunkInfo.offset)+\(blob.chunkInfo.compressedSize) by the bootstrap"
            )
        }
        guard table.count == Int(blob.chunkCount),
            digests.count == table.count * Digest.byteCount
        else {
            throw .corrupt(
                "blob \(blob.id): its chunk-info table has \(table.count) chunks and"
                    + " \(digests.count) bytes of digests, the bootstrap says"
                    + " \(blob.chunkCount) chunks"
            )
        }
        return BlobChunks(
            table: table,
            infoFile: infoFile,
            digests: digests,
            coding: blob.coding,
            viewSize: blob.uncompressedSize
        )
    }
}
