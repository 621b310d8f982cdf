// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux
import RAFS

/// One blob's chunk records in mapped files, as the bootstrap layer carries them.
final class MappedChunkTable: ChunkTable {
    private let table: ChunkInfoTable
    private let info: MappedFile
    private let digests: MappedFile
    /// The digest of both files: what the blob's cache is kept under.
    let key: Digest

    /// Maps a blob's records.
    ///
    /// - Parameters:
    ///   - infoPath: the chunk-info table's file.
    ///   - digestPath: the file of chunk digests.
    ///   - blob: what the bootstrap says of the blob.
    /// - Throws: `ContentError` if they contradict the bootstrap or themselves; `SystemError` if
    ///   they cannot be mapped.
    init(_ infoPath: String, _ digestPath: String, of blob: BlobTableEntry) throws {
        let info = try MappedFile(infoPath)
        let digests = try MappedFile(digestPath)
        let table = try info.withBytes { bytes throws(ContentError) in
            try ChunkInfoTable(file: bytes)
        }
        guard table.count == Int(blob.chunkCount), table.location == blob.chunkInfo,
            digests.byteCount == table.count * Digest.byteCount
        else {
            throw ContentError.corrupt(
                "blob \(blob.id): its chunk-info table has \(table.count) chunks and its digests "
                    + "\(digests.byteCount) bytes, the bootstrap says \(blob.chunkCount) chunks"
            )
        }
        var hash = StreamingDigest()
        info.withBytes { hash.update($0) }
        digests.withBytes { hash.update($0) }
        key = hash.finish()
        self.table = table
        self.info = info
        self.digests = digests
    }

    var count: Int { table.count }

    func chunk(at index: Int) throws(ContentError) -> Chunk {
        try info.withBytes { info throws(ContentError) in
            try digests.withBytes { digests throws(ContentError) in
                try table.chunk(at: index, table: info, digests: digests)
            }
        }
    }
}

/// One blob's chunk records as the bootstrap itself has them, for images whose bootstrap layer
/// carries no others: the records of chunks that files use.
struct RecordedChunkTable: ChunkTable {
    private let chunks: [UInt32: Chunk]
    let count: Int
    /// The digest of the records, in the order of their indexes.
    let key: Digest

    /// The records of a blob.
    init(_ chunks: [UInt32: Chunk], of blob: BlobTableEntry) {
        self.chunks = chunks
        count = Int(blob.chunkCount)
        var hash = StreamingDigest()
        for index in chunks.keys.sorted() {
            guard let chunk = chunks[index] else { continue }
            var bytes = chunk.digest.bytes
            bytes.appendLittleEndian(index)
            bytes.appendLittleEndian(chunk.compressedOffset.bytes)
            bytes.appendLittleEndian(chunk.compressedSize)
            bytes.appendLittleEndian(chunk.uncompressedOffset.bytes)
            bytes.appendLittleEndian(chunk.uncompressedSize)
            hash.update(bytes.rawSpan)
        }
        key = hash.finish()
    }

    func chunk(at index: Int) throws(ContentError) -> Chunk {
        guard let key = UInt32(exactly: index), let chunk = chunks[key] else {
            throw .corrupt("chunk \(index): the bootstrap has no record of it")
        }
        return chunk
    }
}
