// SPDX-License-Identifier: Apache-2.0
//
// Mount: an image as a file system.

import ChunkCache
import Content
import Distribution
import Glibc
import Linux
import RAFS

/// A converted image, its tree mapped and its blobs' caches open.
///
/// Opening sends no request to a data blob: tree, chunk records and digests are in the bootstrap
/// layer.
struct OpenImage: Sendable {
    /// The image's name.
    let name: String
    /// The tree.
    let tree: MappedBootstrap
    /// The blobs, by the bootstrap's index.
    let blobs: [CachedBlob]
    /// The stored bytes of all chunks that files of the tree have.
    let storedBytes: UInt64
    /// The bytes of all blobs' uncompressed views.
    let viewBytes: UInt64

    /// Opens an image.
    ///
    /// - Parameters:
    ///   - source: where it is.
    ///   - cache: keeps its chunks.
    ///   - cacheDirectory: the cache's directory, which keeps its bootstrap as well.
    /// - Throws: `ContentError` if it is not converted, corrupt or not supported; `SystemError` if
    ///   the cache does not take it.
    init(_ source: any ImageSource, _ cache: ChunkCache, cacheDirectory: String) throws {
        let image = try ConvertedImage(source)
        let files = try UnpackedBootstrap(image, in: cacheDirectory)
        let tree = try MappedBootstrap(files.path(of: .bootstrap))
        let tables = try Self.tables(of: tree, files, of: image, source)
        storedBytes = try Self.checkAgreement(tree, tables.map(\.table))
        // Each is at most 2^44, as the cache sees to, and there are at most 254.
        viewBytes = tree.layout.blobs.reduce(0) { $0 &+ $1.uncompressedSize }
        name = source.name
        self.tree = tree
        blobs = try Self.open(zip(tree.layout.blobs, tables), in: cache) { blob in
            try image.dataSource(
                Self.digest(of: blob),
                size: blob.compressedSize,
                isWhole: blob.features.contains(.whole)
            )
        }
    }

    /// Opens all blobs, or none.
    private static func open(
        _ blobs: Zip2Sequence<[BlobTableEntry], [Table]>,
        in cache: ChunkCache,
        source: (BlobTableEntry) throws -> any BlobSource
    ) throws -> [CachedBlob] {
        var result: [CachedBlob] = []
        do {
            for (entry, (table, key)) in blobs {
                let digest = try digest(of: entry)
                result.append(
                    try cache.open(
                        digest,
                        key: key,
                        table: table,
                        coding: entry.coding,
                        source: source(entry),
                        viewSize: entry.uncompressedSize
                    )
                )
            }
        } catch {
            for blob in result { cache.close(blob) }
            throw error
        }
        return result
    }

    /// Gives the blobs back to the cache; nothing is read any more.
    func close(_ cache: ChunkCache) {
        for blob in blobs { cache.close(blob) }
    }

    private typealias Table = (table: any ChunkTable, key: Digest)

    private static func digest(of blob: BlobTableEntry) throws(ContentError) -> Digest {
        guard let digest = blob.digest else {
            throw .corrupt("bootstrap: blob id \(blob.id) is no digest")
        }
        return digest
    }

    /// The blobs' chunk records: the layer's where it has them, else the bootstrap's own; those
    /// leave out how batches and spans are stored, which is then read from the blobs.
    private static func tables(
        of tree: MappedBootstrap,
        _ files: UnpackedBootstrap,
        of image: ConvertedImage,
        _ source: any ImageSource
    ) throws -> [Table] {
        var result: [Table] = []
        for (index, blob) in tree.layout.blobs.enumerated() {
            let digest = try digest(of: blob)
            let info: ChunkInfoFile
            if let file = try mapped(files.path(of: .chunkInfo(blob.metadata?.digest ?? digest))) {
                info = .mapped(file)
            } else if let metadata = blob.metadata?.digest {
                let parts = BlobParts(MemoryBlob(try image.metadataBlob(metadata)))
                let table = try parts.chunkInfoFile(at: blob.chunkInfo)
                // Windows are large: what is mapped need not be in memory.
                try files.store(table, as: .chunkInfo(metadata))
                info = .mapped(try MappedFile(files.path(of: .chunkInfo(metadata))))
            } else if blob.features.contains(.batch) {
                let parts = try BlobParts(source.blobSource(image.dataBlob(digest, size: 0)))
                info = .copied(try parts.chunkInfoFile(at: blob.chunkInfo))
            } else {
                let table = try RecordedChunkTable(tree.records(ofBlob: index), of: blob)
                result.append((table, table.key))
                continue
            }
            let digests: ChunkInfoFile
            if let file = try mapped(files.path(of: .chunkDigests(digest))) {
                digests = .mapped(file)
            } else {
                digests = .copied(
                    try tree.read { tree throws(ContentError) in
                        try tree.recordedDigests(ofBlob: index)
                    }
                )
            }
            let table = try CarriedChunkTable(info, digests, of: blob)
            result.append((table, table.key))
        }
        return result
    }

    /// A file of the bootstrap layer; nil if the layer has no such file.
    private static func mapped(_ path: String) throws(SystemError) -> MappedFile? {
        do throws(SystemError) {
            return try MappedFile(path)
        } catch {
            guard error.code == ENOENT else { throw error }
            return nil
        }
    }

    /// Checks that the bootstrap says of its chunks what the blobs' records say.
    ///
    /// - Returns: the stored bytes of all these chunks: the blobs may have others, of files that a
    ///   higher layer hides.
    private static func checkAgreement(
        _ tree: MappedBootstrap,
        _ tables: [any ChunkTable]
    ) throws(ContentError) -> UInt64 {
        var storedBytes: UInt64 = 0
        try tree.read { tree throws(ContentError) in
            try tree.forEachChunkRecord { record throws(ContentError) in
                let (blob, index) = (Int(record.address.blob), Int(record.address.index))
                let chunk = try tables[blob].chunk(at: index)
                guard record.agrees(with: chunk) else {
                    throw .corrupt(
                        "chunk \(index) of blob \(blob): the bootstrap and the blob's chunk-info "
                            + "table contradict"
                    )
                }
                // The table names each chunk once in at least 80 bytes: no sum of them overflows.
                storedBytes += UInt64(record.chunk.compressedSize)
            }
        }
        return storedBytes
    }
}
