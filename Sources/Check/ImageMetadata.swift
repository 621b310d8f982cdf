// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import RAFS

/// What a converted image's bootstrap layer holds, in memory.
struct ImageMetadata: Sendable {
    /// One blob's chunk records: as the bootstrap layer carries them, else as the blob itself does.
    struct BlobChunks: Sendable {
        let table: ChunkInfoTable
        let infoFile: [UInt8]
        /// The chunks' digests; zeros where nobody says one.
        let digests: [UInt8]
        /// How the chunks are stored and named.
        let coding: ChunkCoding
        /// The size of the blob's uncompressed view, in bytes.
        let viewSize: UInt64

        func chunk(at index: Int) throws(ContentError) -> Chunk {
            try table.chunk(at: index, table: infoFile.rawSpan, digests: digests.rawSpan)
        }
    }

    /// The bootstrap.
    let bootstrap: [UInt8]
    /// Its checked layout.
    let layout: BootstrapLayout
    /// The chunk records by blob index.
    let blobs: [BlobChunks]

    /// Reads the bootstrap layer, verified, and checks that its parts agree.
    ///
    /// nydus' layers lack the digests, older ones the chunk-info tables as well.
    ///
    /// - Parameters:
    ///   - image: the image.
    ///   - source: where the blobs are.
    /// - Throws: an error that names what is missing or wrong.
    init(_ image: ConvertedImage, at source: any ImageSource) throws {
        var files: [BootstrapFile: [UInt8]] = [:]
        try unsafe image.readBootstrapLayer { file, size, read in
            files[file] = try unsafe Self.bytes(size, read)
        }
        let bootstrap = files[.bootstrap] ?? []
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        try layout.checkReadable()
        self.bootstrap = bootstrap
        self.layout = layout
        blobs = try layout.blobs.enumerated().map { index, blob in
            guard let id = blob.digest else {
                throw ContentError.corrupt("blob \(index) of the bootstrap has no digest as its id")
            }
            let parts = try BlobParts(source.blobSource(image.dataBlob(id)))
            return try Self.chunks(
                of: blob,
                files[.chunkInfo(id)] ?? parts.chunkInfoFile(at: blob.chunkInfo),
                files[.chunkDigests(id)] ?? Self.digests(in: parts)
                    ?? Bootstrap(bytes: bootstrap.rawSpan, layout: layout)
                    .recordedDigests(ofBlob: index)
            )
        }
    }

    /// The digests of its chunks that a blob itself carries; nil if it does not.
    private static func digests(in parts: BlobParts) throws(ContentError) -> [UInt8]? {
        guard let entry = try parts.tableOfContents()?.entry(named: BlobTOC.Name.chunkDigests)
        else { return nil }
        return try parts.part(entry)
    }

    /// The bootstrap alone, of an image that may otherwise be more than this version reads.
    ///
    /// - Parameter image: the image.
    /// - Returns: the bootstrap's bytes, verified.
    /// - Throws: an error that names what is wrong with the layer that carries it.
    static func bootstrap(of image: ConvertedImage) throws -> [UInt8] {
        var bootstrap: [UInt8] = []
        try unsafe image.readBootstrapLayer { file, size, read in
            if file == .bootstrap { bootstrap = try unsafe bytes(size, read) }
        }
        return bootstrap
    }

    /// The blob's own record of a chunk; nil if the blob has no such chunk.
    func chunk(at address: ChunkAddress) throws(ContentError) -> Chunk? {
        guard Int(address.blob) < blobs.count,
            Int(address.index) < blobs[Int(address.blob)].table.count
        else { return nil }
        return try blobs[Int(address.blob)].chunk(at: Int(address.index))
    }

    /// The function that digests a blob's chunks; nil if there is no such blob.
    func digester(ofBlob blob: UInt16) -> Digester? {
        Int(blob) < blobs.count ? blobs[Int(blob)].coding.digester : nil
    }

    private static func bytes(
        _ size: UInt64,
        _ read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [UInt8] {
        var bytes: [UInt8] = []
        // Grows as the bytes come: the size is only what a header says.
        var buffer = [UInt8](repeating: 0, count: Int(min(size, 1 << 20)))
        while UInt64(bytes.count) < size {
            var span = buffer.mutableSpan
            let count = try unsafe span.withUnsafeMutableBytes {
                (buffer) throws(ContentError) in try unsafe read(buffer)
            }
            guard count > 0 else { throw .truncated("a file of the bootstrap layer ends early") }
            bytes.append(contentsOf: buffer[..<count])
        }
        return bytes
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
