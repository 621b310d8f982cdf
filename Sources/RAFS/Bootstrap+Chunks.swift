// SPDX-License-Identifier: Apache-2.0

package import Content

/// The part of one chunk that a read needs.
package struct ChunkSlice: Hashable, Sendable {
    /// The chunk.
    package let chunk: ChunkAddress
    /// Where the chunk begins in its blob's uncompressed view, as the inode says.
    package let chunkOffset: UncompressedOffset
    /// Where the slice begins in the chunk, in bytes.
    package let offset: UInt32
    /// How many bytes the slice has; at least 1.
    package let count: UInt32
}

extension Bootstrap {
    /// The number of chunks of a regular file.
    package func chunkCount(of inode: Inode) -> UInt64 {
        let size = UInt64(layout.chunkSize)
        return inode.size / size + (inode.size % size == 0 ? 0 : 1)
    }

    /// A chunk of a regular file, and where it begins in its blob's uncompressed view.
    ///
    /// - Parameters:
    ///   - index: the chunk's position in the file, from 0.
    ///   - inode: the file.
    /// - Returns: the chunk's address and its place in the blob's view.
    /// - Throws: `ContentError` if the file has no such chunk or its index is malformed.
    package func chunk(
        _ index: UInt64,
        of inode: Inode
    ) throws(ContentError) -> (address: ChunkAddress, offset: UncompressedOffset) {
        guard inode.type == .regular, index < chunkCount(of: inode) else {
            throw .corrupt("inode \(inode.nid): has no chunk \(index)")
        }
        // Bit 5: 8-byte indexes; bit 6, 48-bit block addresses, never occurs in RAFS.
        guard inode.union & 0xffff_ffe0 == 0x20 else {
            throw .corrupt(
                "inode \(inode.nid): chunk format 0x\(String(inode.union, radix: 16))"
            )
        }
        // A file cannot have more chunk indexes than the bootstrap has room for.
        guard index <= UInt64(layout.byteCount / 8) else {
            throw .corrupt("inode \(inode.nid): the index of chunk \(index) lies outside")
        }
        let offset = inode.chunkIndexOffset + Int(index) * 8
        let low = UInt32(try bytes.littleEndian(UInt16.self, at: offset))
        let device = try bytes.littleEndian(UInt16.self, at: offset + 2)
        let block = try bytes.littleEndian(UInt32.self, at: offset + 4)
        let blob = Int(device & 0xff) - 1
        guard blob >= 0, blob < layout.blobs.count else {
            throw .corrupt("inode \(inode.nid): chunk \(index) is on device \(blob + 1)")
        }
        return (
            ChunkAddress(blob: UInt16(blob), index: low | UInt32(device >> 8) << 16),
            UncompressedOffset(UInt64(block) * UInt64(BootstrapFormat.blockSize))
        )
    }

    /// The index of a chunk up to which a blob's chunks, from one of a file on, are all the file's.
    ///
    /// Chunks are numbered in the order in which files have them first. So if two chunks of a file
    /// are no farther apart in their blob than in the file, all between them belong to it; what the
    /// file has besides, it has twice or shares with others. Where its last chunk tells nothing, one
    /// half as far away is asked, and so on. An image that is numbered otherwise may get an answer
    /// with chunks of other files: good for guesses only.
    ///
    /// - Parameters:
    ///   - inode: the file.
    ///   - position: the first chunk's position in the file, from 0.
    ///   - first: its address.
    /// - Returns: the last chunk's index in the same blob; at least that of the first.
    /// - Throws: `ContentError` if the file's chunk indexes are malformed.
    package func lastChunk(
        of inode: Inode,
        from position: UInt64,
        _ first: ChunkAddress
    ) throws(ContentError) -> UInt32 {
        let count = chunkCount(of: inode)
        guard position < count else { return first.index }
        var distance = count - 1 - position
        while distance > 0 {
            let (last, _) = try chunk(position + distance, of: inode)
            if last.blob == first.blob, last.index > first.index,
                UInt64(last.index - first.index) <= distance
            {
                return last.index
            }
            distance /= 2
        }
        return first.index
    }

    /// Calls the body for every slice of a range of a regular file, in file order.
    ///
    /// - Parameters:
    ///   - inode: the file.
    ///   - offset: where the range begins in the file, in bytes.
    ///   - count: its length; what lies past the end of the file is left out.
    ///   - body: gets each slice.
    /// - Throws: `ContentError` if the file's chunk indexes are malformed; what the body throws.
    package func forEachSlice(
        of inode: Inode,
        offset: UInt64,
        count: UInt64,
        _ body: (ChunkSlice) throws(ContentError) -> Void
    ) throws(ContentError) {
        guard offset < inode.size else { return }
        let end = offset + min(count, inode.size - offset)
        let chunkSize = UInt64(layout.chunkSize)
        var position = offset
        while position < end {
            let index = position / chunkSize
            let (address, start) = try chunk(index, of: inode)
            let stop = min(end, (index + 1) * chunkSize)
            try body(
                ChunkSlice(
                    chunk: address,
                    chunkOffset: start,
                    offset: UInt32(position - index * chunkSize),
                    count: UInt32(stop - position)
                )
            )
            position = stop
        }
    }
}
