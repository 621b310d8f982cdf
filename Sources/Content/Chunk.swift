// SPDX-License-Identifier: Apache-2.0

/// The unit of deduplication, verification and caching: a run of file content stored in a blob.
package struct Chunk: Hashable, Sendable {
    /// The digest of the uncompressed bytes.
    package var digest: Digest
    /// Where the stored bytes begin in the blob.
    package var compressedOffset: CompressedOffset
    /// The number of bytes stored: 1...2^24.
    package var compressedSize: UInt32
    /// Where the content begins in the blob's uncompressed view; a multiple of 4096.
    package var uncompressedOffset: UncompressedOffset
    /// The number of bytes of content: 1...2^24.
    package var uncompressedSize: UInt32

    /// A chunk with the values.
    package init(
        digest: Digest,
        compressedOffset: CompressedOffset,
        compressedSize: UInt32,
        uncompressedOffset: UncompressedOffset,
        uncompressedSize: UInt32
    ) {
        self.digest = digest
        self.compressedOffset = compressedOffset
        self.compressedSize = compressedSize
        self.uncompressedOffset = uncompressedOffset
        self.uncompressedSize = uncompressedSize
    }

    /// Whether the stored bytes are compressed: a result that was not smaller is stored as it was.
    ///
    /// V1 chunk records have no flag for it; unequal sizes are how they tell (RAFS v6, V1 infos).
    package var isCompressed: Bool { compressedSize != uncompressedSize }

    /// The alignment of chunks in the uncompressed view, in bytes.
    package static let alignment: UInt64 = 4096
}

/// Names one chunk among the blobs of an image.
package struct ChunkAddress: Hashable, Sendable {
    /// The blob's position in the image's blob table, from 0.
    package var blob: UInt16
    /// The chunk's index in that blob, from 0; below 2^24.
    package var index: UInt32

    /// The chunk of that index in that blob.
    package init(blob: UInt16, index: UInt32) {
        self.blob = blob
        self.index = index
    }
}
