// SPDX-License-Identifier: Apache-2.0

/// The unit of deduplication, verification and caching: a run of file content stored in a blob.
package struct Chunk: Hashable, Sendable {
    /// The digest of the uncompressed bytes.
    package var digest: Digest
    /// Where the stored bytes begin in the blob: of a batch's member, those of the whole batch.
    package var compressedOffset: CompressedOffset
    /// The number of bytes stored: 1...2^24; of a batch's member, those of the whole batch.
    package var compressedSize: UInt32
    /// Where the content begins in the blob's uncompressed view; a multiple of 4096.
    package var uncompressedOffset: UncompressedOffset
    /// The number of bytes of content: 1...2^24.
    package var uncompressedSize: UInt32
    /// Where the chunk is in its batch or span; nil if it is stored on its own.
    package var batch: BatchPlace?

    /// A chunk with the values.
    package init(
        digest: Digest,
        compressedOffset: CompressedOffset,
        compressedSize: UInt32,
        uncompressedOffset: UncompressedOffset,
        uncompressedSize: UInt32,
        batch: BatchPlace? = nil
    ) {
        self.digest = digest
        self.compressedOffset = compressedOffset
        self.compressedSize = compressedSize
        self.uncompressedOffset = uncompressedOffset
        self.uncompressedSize = uncompressedSize
        self.batch = batch
    }

    /// The bytes of content that are decompressed together: of a batch's member, the whole batch.
    package var unitSize: UInt32 { batch?.size ?? uncompressedSize }

    /// Where the chunk begins in what is decompressed together with it.
    package var unitOffset: UInt32 { batch?.offset ?? 0 }

    /// Whether the chunk is decompressed together with another one.
    package func sharesUnit(with other: Chunk) -> Bool {
        guard let batch, let otherBatch = other.batch else { return false }
        return batch.size == otherBatch.size && batch.checkpoint == otherBatch.checkpoint
            && compressedOffset == other.compressedOffset
            && compressedSize == other.compressedSize
    }

    /// Whether sizes and offset are such as a blob can have.
    ///
    /// - Parameter maximumSize: the largest chunk or batch, in bytes.
    /// - Returns: false for what no reader could make sense of.
    package func isPlausible(maximumSize: UInt32) -> Bool {
        let sizes = 1...maximumSize
        return sizes.contains(compressedSize) && sizes.contains(uncompressedSize)
            && sizes.contains(unitSize) && unitOffset <= unitSize
            && uncompressedSize <= unitSize - unitOffset
            && uncompressedOffset.bytes % Self.alignment == 0
    }

    /// Whether the stored bytes are compressed: a result that was not smaller is stored as it was.
    ///
    /// V1 chunk records and batches have no flag for it; unequal sizes are how they tell. What
    /// begins at a checkpoint is always compressed.
    package var isCompressed: Bool { batch?.checkpoint != nil || compressedSize != unitSize }

    /// The alignment of chunks in the uncompressed view, in bytes.
    package static let alignment: UInt64 = 4096
}

/// Where a chunk is among those that are decompressed together with it: in a batch, or in a span
/// of a gzip layer.
package struct BatchPlace: Hashable, Sendable {
    /// Where it begins in the batch's content, in bytes.
    package var offset: UInt32
    /// The bytes of content of the whole batch: 1...2^24.
    package var size: UInt32
    /// Of a span: the checkpoint at which decompressing begins; nil for a batch, which is
    /// compressed on its own.
    package var checkpoint: UInt32?

    /// A place with the values.
    package init(offset: UInt32, size: UInt32, checkpoint: UInt32? = nil) {
        self.offset = offset
        self.size = size
        self.checkpoint = checkpoint
    }
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
