// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux
import RAFS

/// A table of a blob: a file of the bootstrap layer, or a copy of what stands elsewhere.
enum ChunkInfoFile: ~Copyable, Sendable {
    case mapped(MappedFile)
    case copied([UInt8])

    /// Calls the body with the table's bytes.
    func withBytes<T, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> T
    ) throws(Failure) -> T {
        switch self {
        case .mapped(let file): try file.withBytes(body)
        case .copied(let bytes): try body(bytes.rawSpan)
        }
    }
}

/// One blob's chunk records in the form that blobs and bootstrap layers carry.
final class CarriedChunkTable: ChunkTable {
    private let table: ChunkInfoTable
    private let info: ChunkInfoFile
    private let digests: ChunkInfoFile
    /// The digest of both tables and of how chunks are stored: what the blob's cache is kept under.
    let key: Digest

    /// A blob's records.
    ///
    /// - Parameters:
    ///   - info: the chunk-info table in its file form.
    ///   - digests: the chunks' digests, by index; zeros where one is not known.
    ///   - blob: what the bootstrap says of the blob.
    /// - Throws: `ContentError` if they contradict the bootstrap or themselves.
    init(
        _ info: consuming ChunkInfoFile,
        _ digests: consuming ChunkInfoFile,
        of blob: BlobTableEntry
    ) throws(ContentError) {
        let table = try info.withBytes { bytes throws(ContentError) in
            try ChunkInfoTable(file: bytes)
        }
        let digestSize = digests.withBytes { $0.byteCount }
        guard table.count == Int(blob.chunkCount), table.location == blob.chunkInfo,
            digestSize == table.count * Digest.byteCount
        else {
            throw .corrupt(
                "blob \(blob.id): its chunk-info table has \(table.count) chunks and its digests "
                    + "\(digestSize) bytes, the bootstrap says \(blob.chunkCount) chunks"
            )
        }
        var hash = StreamingDigest()
        info.withBytes { hash.update($0) }
        digests.withBytes { hash.update($0) }
        hash.update(blob.coding)
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

    func withCheckpoint(
        _ index: UInt32,
        _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
    ) throws(ContentError) {
        try info.withBytes { info throws(ContentError) in
            try table.withCheckpoint(index, in: info, body)
        }
    }
}

extension StreamingDigest {
    /// Takes how chunks are stored and named.
    fileprivate mutating func update(_ coding: ChunkCoding) {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(coding.compressor.rawValue)
        bytes.appendLittleEndian(coding.digester.rawValue)
        update(bytes.rawSpan)
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
        hash.update(blob.coding)
        key = hash.finish()
    }

    func chunk(at index: Int) throws(ContentError) -> Chunk {
        guard let key = UInt32(exactly: index), let chunk = chunks[key] else {
            throw .corrupt("chunk \(index): the bootstrap has no record of it")
        }
        return chunk
    }
}
