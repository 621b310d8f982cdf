// SPDX-License-Identifier: Apache-2.0

package import Content
import Linux

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

    init(
        _ digest: Digest,
        number: UInt32,
        table: any ChunkTable,
        coding: ChunkCoding,
        source: any BlobSource,
        backing: BackingFile,
        viewSize: UInt64
    ) {
        self.digest = digest
        self.number = number
        self.table = table
        self.coding = coding
        self.source = source
        self.backing = backing
        self.viewSize = viewSize
    }

    /// Reads a part of a chunk, if the chunk is here; takes no lock and allocates nothing.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - start: where the reader believes the chunk to begin in the uncompressed view.
    ///   - offset: where the part begins in the chunk, in bytes.
    ///   - buffer: filled whole if the chunk is here.
    /// - Returns: false if it must be fetched.
    /// - Throws: `ContentError` if the blob has no such part, or its record says that the chunk
    ///   begins elsewhere.
    package func readIfPresent(
        chunk index: Int,
        at start: UncompressedOffset,
        from offset: UInt32,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Bool {
        let chunk = try part(index, start, offset, buffer.count)
        let place = UncompressedOffset(chunk.uncompressedOffset.bytes + UInt64(offset))
        return unsafe backing.read(chunk: index, at: place, into: buffer)
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

/// A part of a chunk that a read needs, and its place in the answer.
package struct CachedSlice: Sendable {
    /// The blob.
    package var blob: CachedBlob
    /// The chunk's index in it.
    package var chunk: Int
    /// Where the chunk begins in the uncompressed view, as the file says.
    package var start: UncompressedOffset
    /// Where the part begins in the chunk, in bytes.
    package var offset: UInt32
    /// How many bytes it has; at least 1.
    package var count: Int
    /// Where it goes in the answer, in bytes.
    package var place: Int

    /// A slice with the values.
    package init(
        blob: CachedBlob,
        chunk: Int,
        start: UncompressedOffset,
        offset: UInt32,
        count: Int,
        place: Int
    ) {
        self.blob = blob
        self.chunk = chunk
        self.start = start
        self.offset = offset
        self.count = count
        self.place = place
    }
}

/// Who gets the bytes of a read that could not be answered at once.
package protocol ReadWaiter: Sendable {
    /// The bytes, which live only as long as the call. Comes from a thread that fetches.
    func succeed(_ bytes: RawSpan)

    /// Why there are none; logged already. Comes from a thread that fetches.
    func fail(_ error: ContentError)
}

/// A read that waits for chunks.
final class PendingRead: Sendable {
    let slices: [CachedSlice]
    let byteCount: Int
    let waiter: any ReadWaiter
    /// How many times it may still be begun anew, when a chunk vanishes between fetch and answer.
    let attemptsLeft: Int

    init(_ slices: [CachedSlice], byteCount: Int, waiter: any ReadWaiter, attemptsLeft: Int = 3) {
        self.slices = slices
        self.byteCount = byteCount
        self.waiter = waiter
        self.attemptsLeft = attemptsLeft
    }

    /// The same read, with one attempt less.
    func again() -> PendingRead {
        PendingRead(slices, byteCount: byteCount, waiter: waiter, attemptsLeft: attemptsLeft - 1)
    }

    /// The chunks that are not here, each once.
    func missingChunks() throws(ContentError) -> [WantedChunk] {
        var seen: Set<ChunkKey> = []
        var result: [WantedChunk] = []
        for slice in slices where !slice.blob.backing.contains(slice.chunk) {
            let chunk = try slice.blob.checkedChunk(at: slice.chunk)
            let key = ChunkKey(blob: slice.blob.number, index: UInt32(slice.chunk))
            guard seen.insert(key).inserted else { continue }
            result.append(
                WantedChunk(
                    key: key,
                    offset: chunk.compressedOffset.bytes,
                    size: chunk.compressedSize
                )
            )
        }
        return result
    }

    /// Puts the answer together.
    ///
    /// - Parameters:
    ///   - buffer: as long as the answer.
    ///   - inMemory: chunks that are not in their backing files.
    /// - Returns: false if a chunk is in neither.
    /// - Throws: `ContentError` if a slice does not lie in its chunk or in the answer.
    func assemble(
        into buffer: UnsafeMutableRawBufferPointer,
        _ inMemory: [ChunkKey: [UInt8]]
    ) throws(ContentError) -> Bool {
        // What no slice covers is a hole.
        _ = unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
        for slice in slices {
            guard slice.place >= 0, slice.count >= 0, slice.place <= buffer.count,
                slice.count <= buffer.count - slice.place
            else { throw .corrupt("a slice of \(slice.count) bytes lies outside of its read") }
            let end = slice.place + slice.count
            let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[slice.place..<end])
            let key = ChunkKey(blob: slice.blob.number, index: UInt32(slice.chunk))
            if let bytes = inMemory[key] {
                let start = Int(slice.offset)
                guard start <= bytes.count, slice.count <= bytes.count - start else {
                    throw .corrupt("a slice lies outside of chunk \(slice.chunk)")
                }
                unsafe part.copyBytes(from: bytes[start..<start + slice.count])
            } else {
                let isRead = try unsafe slice.blob.readIfPresent(
                    chunk: slice.chunk,
                    at: slice.start,
                    from: slice.offset,
                    into: part
                )
                guard isRead else { return false }
            }
        }
        return true
    }
}
