// SPDX-License-Identifier: Apache-2.0

package import Content

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
    /// The chunk up to which those of its blob, from the last slice's on, are the file's; nil if
    /// nobody knows.
    let lastChunk: Int?
    /// How many times it may still be begun anew, when a chunk vanishes between fetch and answer.
    let attemptsLeft: Int

    init(
        _ slices: [CachedSlice],
        byteCount: Int,
        waiter: any ReadWaiter,
        lastChunk: Int? = nil,
        attemptsLeft: Int = 3
    ) {
        self.slices = slices
        self.byteCount = byteCount
        self.waiter = waiter
        self.lastChunk = lastChunk
        self.attemptsLeft = attemptsLeft
    }

    /// The same read, with one attempt less.
    func again() -> PendingRead {
        PendingRead(
            slices,
            byteCount: byteCount,
            waiter: waiter,
            lastChunk: lastChunk,
            attemptsLeft: attemptsLeft - 1
        )
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
