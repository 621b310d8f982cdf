// SPDX-License-Identifier: Apache-2.0

package import Content

/// Chunks that are all zeros: known from their records, never fetched.
extension CachedBlob {
    /// Whether a chunk is known to read as zeros; nothing is fetched to find out.
    ///
    /// - Parameters:
    ///   - index: the chunk's index.
    ///   - start: where the reader believes the chunk to begin in the uncompressed view.
    ///   - byteCount: how many bytes of it the reader's file has. A chunk of another size, which
    ///     no converter makes, is not looked at: so a file has two sizes at most.
    /// - Returns: false where it is not known, and where a read would fail.
    package func isZero(
        chunk index: Int,
        at start: UncompressedOffset,
        byteCount: UInt32
    ) -> Bool {
        guard let chunk = try? checkedChunk(at: index), chunk.uncompressedOffset == start,
            chunk.uncompressedSize == byteCount
        else { return false }
        return zeros.describe(chunk, coding)
    }

    /// Marks a chunk as present if it is all zeros: the backing file reads so where nothing was
    /// ever written.
    func fillIfZero(chunk index: Int) {
        guard !backing.contains(index), let chunk = try? checkedChunk(at: index),
            zeros.describe(chunk, coding)
        else { return }
        backing.markZero(chunk: index)
    }
}
