// SPDX-License-Identifier: Apache-2.0

import Content

/// Which chunks to fetch beside those that are missed.
extension CachedBlob {
    /// The most chunks that are looked at for one read: their records are read under a lock.
    private static let lookLimit = 1024

    /// The chunks that follow one without a gap in the blob as it is stored.
    ///
    /// - Parameters:
    ///   - last: the chunk.
    ///   - limit: the most stored bytes of all of them together.
    ///   - isFree: whether a chunk is neither here nor on its way; the first that is not ends them.
    /// - Returns: the chunks.
    func followers(
        of last: WantedChunk,
        limit: UInt64,
        _ isFree: (ChunkKey) -> Bool
    ) -> [WantedChunk] {
        var result: [WantedChunk] = []
        var end = last
        let start = last.end
        for index in (Int(last.key.index) + 1..<table.count).prefix(Self.lookLimit) {
            guard let next = wanted(index), isFree(next.key),
                next.offset == end.end || (next.offset == end.offset && next.size == end.size),
                next.end - start <= limit
            else { break }
            result.append(next)
            end = next
        }
        return result
    }

    /// The chunks of a window that are neither here nor on their way.
    ///
    /// - Returns: the chunks, and the index of the first one behind the window.
    func chunks(
        of window: SequentialReaders.Window,
        _ isFree: (ChunkKey) -> Bool
    ) -> (chunks: [WantedChunk], next: Int) {
        var result: [WantedChunk] = []
        var bytes: UInt64 = 0
        var next = window.chunks.lowerBound
        for index in window.chunks.prefix(Self.lookLimit) {
            guard bytes < window.bytes, let chunk = try? checkedChunk(at: index) else { break }
            bytes += UInt64(chunk.uncompressedSize)
            next = index + 1
            if let wanted = wanted(index), isFree(wanted.key) { result.append(wanted) }
        }
        return (result, next)
    }

    /// The chunks beside one that are neither here nor on their way.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - step: 1 for those behind it, -1 for those before.
    ///   - limit: how many stored bytes away the last of them may begin.
    ///   - isFree: whether a chunk is neither here nor on its way; others are passed over.
    /// - Returns: the chunks.
    func neighbours(
        of index: Int,
        step: Int,
        limit: UInt64,
        _ isFree: (ChunkKey) -> Bool
    ) -> [WantedChunk] {
        var result: [WantedChunk] = []
        var bytes: UInt64 = 0
        var next = index + step
        var left = Self.lookLimit
        while bytes < limit, left > 0, next >= 0, next < table.count, let chunk = wanted(next) {
            bytes += UInt64(chunk.size)
            if isFree(chunk.key) { result.append(chunk) }
            next += step
            left -= 1
        }
        return result
    }

    /// All chunks in the order of their stored bytes; records that are out of bounds are left out.
    func chunksAsStored() -> [WantedChunk] {
        let all = (0..<table.count).compactMap { wanted($0) }
        let isOrdered = zip(all, all.dropFirst()).allSatisfy { $0.offset <= $1.offset }
        return isOrdered ? all : all.sorted { ($0.offset, $0.end) < ($1.offset, $1.end) }
    }

    /// A chunk as it is asked for; nil if its record is out of bounds.
    private func wanted(_ index: Int) -> WantedChunk? {
        guard let chunk = try? checkedChunk(at: index), let position = UInt32(exactly: index) else {
            return nil
        }
        return WantedChunk(
            key: ChunkKey(blob: number, index: position),
            offset: chunk.compressedOffset.bytes,
            size: chunk.compressedSize
        )
    }
}
