// SPDX-License-Identifier: Apache-2.0

package import Content
import Linux
import Synchronization

/// A blob whose chunks a cache keeps: where they come from, and where they are.
package final class CachedBlob: Sendable {
    /// The blob's digest.
    package let digest: Digest
    /// Its number in the cache.
    let number: UInt32
    let table: any ChunkTable
    let coding: ChunkCoding
    let source: any BlobSource
    let backing: BackingFile
    /// The size of the uncompressed view, in bytes.
    let viewSize: UInt64
    /// The digest of the chunk records in force.
    let key: Digest
    /// Tells which chunks are all zeros.
    let zeros: ZeroDigests
    /// Where sequential readers are awaited.
    let marks = ReaderMarks()
    /// Called with the index of a marked chunk that a read has come to.
    private let onMark: @Sendable (CachedBlob, Int) -> Void

    init(
        _ digest: Digest,
        key: Digest = .zero,
        number: UInt32,
        table: any ChunkTable,
        coding: ChunkCoding,
        source: any BlobSource,
        backing: BackingFile,
        viewSize: UInt64,
        zeros: ZeroDigests = ZeroDigests(),
        onMark: @escaping @Sendable (CachedBlob, Int) -> Void = { _, _ in }
    ) {
        self.digest = digest
        self.key = key
        self.onMark = onMark
        self.number = number
        self.table = table
        self.coding = coding
        self.source = source
        self.backing = backing
        self.viewSize = viewSize
        self.zeros = zeros
    }

    /// Reads a part of a chunk, if the chunk is here; takes no lock and allocates nothing.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - start: where the reader believes the chunk to begin in the uncompressed view.
    ///   - offset: where the part begins in the chunk, in bytes.
    ///   - buffer: filled whole if the chunk is here.
    ///   - onWait: called before the thread waits for storage.
    /// - Returns: false if it must be fetched.
    /// - Throws: `ContentError` if the blob has no such part, or its record says that the chunk
    ///   begins elsewhere.
    package func readIfPresent(
        chunk index: Int,
        at start: UncompressedOffset,
        from offset: UInt32,
        into buffer: UnsafeMutableRawBufferPointer,
        onWait: () -> Void = {}
    ) throws(ContentError) -> Bool {
        let chunk = try part(index, start, offset, buffer.count)
        if marks.contains(index) { onMark(self, index) }
        let place = UncompressedOffset(chunk.uncompressedOffset.bytes + UInt64(offset))
        return unsafe backing.read(chunk: index, at: place, into: buffer, onWait: onWait)
    }

    /// The record of a chunk, checked against the blob's bounds and against what is read of it.
    private func part(
        _ index: Int,
        _ start: UncompressedOffset,
        _ offset: UInt32,
        _ count: Int
    ) throws(ContentError) -> Chunk {
        let chunk = try checkedChunk(at: index)
        guard chunk.uncompressedOffset == start else {
            throw .corrupt(
                "chunk \(index) of blob \(digest): begins at \(chunk.uncompressedOffset) by the "
                    + "blob's records, at \(start) by the file's"
            )
        }
        guard offset <= chunk.uncompressedSize,
            count <= Int(chunk.uncompressedSize - offset)
        else {
            throw .corrupt(
                "chunk \(index) of blob \(digest): \(count) bytes at \(offset) of "
                    + "\(chunk.uncompressedSize)"
            )
        }
        return chunk
    }

    /// The record of a chunk that lies within the blob and its view.
    func checkedChunk(at index: Int) throws(ContentError) -> Chunk {
        let chunk = try table.chunk(at: index)
        let largest: UInt32 = 1 << 24
        guard chunk.isPlausible(maximumSize: largest),
            chunk.uncompressedOffset.bytes <= viewSize,
            viewSize - chunk.uncompressedOffset.bytes >= UInt64(chunk.uncompressedSize),
            chunk.compressedOffset.bytes <= source.size,
            source.size - chunk.compressedOffset.bytes >= UInt64(chunk.compressedSize)
        else {
            throw .corrupt("chunk \(index) of blob \(digest): its record is out of bounds")
        }
        return chunk
    }

    /// The chunks that are decompressed together with this one, itself left out.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - chunk: its record.
    /// - Returns: their indexes and records; batches hold chunks of successive indexes.
    func companions(of index: Int, _ chunk: Chunk) -> [(index: Int, chunk: Chunk)] {
        guard chunk.batch != nil else { return [] }
        var result: [(index: Int, chunk: Chunk)] = []
        for step in [-1, 1] {
            var other = index + step
            while other >= 0, other < table.count, let record = try? checkedChunk(at: other),
                record.sharesUnit(with: chunk)
            {
                result.append((other, record))
                other += step
            }
        }
        return result
    }

    /// Checks that no two chunks share bytes of the view: one would overwrite the other.
    ///
    /// Records that are out of bounds are left out: no such chunk is ever stored.
    ///
    /// - Throws: `ContentError` naming two that do.
    func checkDisjoint() throws(ContentError) {
        var extents: [(start: UInt64, end: UInt64, index: Int)] = []
        var isAscending = true
        for index in 0..<table.count {
            guard let chunk = try? checkedChunk(at: index) else { continue }
            let start = chunk.uncompressedOffset.bytes
            if let last = extents.last, last.end > start { isAscending = false }
            extents.append((start, start + UInt64(chunk.uncompressedSize), index))
        }
        if isAscending { return }
        extents.sort { $0.start < $1.start }
        for (left, right) in zip(extents, extents.dropFirst()) where left.end > right.start {
            throw .corrupt(
                "blob \(digest): chunks \(left.index) and \(right.index) overlap in its view"
            )
        }
    }
}
