// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import RAFS

/// What a converted image's bootstrap layer holds, in memory.
struct ImageMetadata: Sendable {
    /// One blob's chunk records, as the bootstrap layer carries them.
    struct BlobChunks: Sendable {
        let table: ChunkInfoTable
        let infoFile: [UInt8]
        let digests: [UInt8]
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
    /// - Parameter image: the image.
    /// - Throws: an error that names what is missing or wrong.
    init(_ image: ConvertedImage) throws {
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
            guard let infoFile = files[.chunkInfo(id)], let digests = files[.chunkDigests(id)]
            else {
                throw ContentError.unsupported(
                    "blob \(id): the bootstrap layer does not carry its chunk-info table and"
                        + " digests; this version checks only images that do"
                )
            }
            return try Self.chunks(of: blob, infoFile, digests)
        }
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
        guard table.count == Int(blob.chunkCount), table.location == blob.chunkInfo,
            digests.count == table.count * Digest.byteCount
        else {
            throw .corrupt(
                "blob \(blob.id): its chunk-info table in the bootstrap layer has \(table.count)"
                    + " chunks and \(digests.count) bytes of digests, the bootstrap says"
                    + " \(blob.chunkCount) chunks"
            )
        }
        return BlobChunks(
            table: table,
            infoFile: infoFile,
            digests: digests,
            viewSize: blob.uncompressedSize
        )
    }
}
