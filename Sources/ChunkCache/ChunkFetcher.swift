// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
import Linux

/// What one fetching thread works with: buffers and a decompressor, made once.
package struct ChunkFetcher: ~Copyable {
    /// The largest chunk, stored or not: 24 bits of size.
    package static let largestChunk = 1 << 24

    private var stored: AnonymousMemory
    private var content: AnonymousMemory
    private var decompressor: ChunkDecompressor
    /// The batch whose content is in `content`, by its place in `stored`; nil if there is none.
    private var batch: Range<Int>?

    /// Buffers and decompressor of one thread.
    ///
    /// - Throws: `SystemError` or `ContentError` if there is no memory.
    package init() throws {
        let stored = try AnonymousMemory(byteCount: Self.largestChunk)
        let content = try AnonymousMemory(byteCount: Self.largestChunk)
        let decompressor = try ChunkDecompressor()
        self.stored = stored
        self.content = content
        self.decompressor = decompressor
    }

    /// Fetches the stored bytes of a range.
    ///
    /// - Parameters:
    ///   - start: where the range begins in the blob.
    ///   - count: its length; at most `largestChunk`.
    ///   - source: the blob.
    /// - Throws: `ContentError` if the source does not give all of it.
    package mutating func fetch(
        _ start: UInt64,
        _ count: Int,
        from source: any BlobSource
    ) throws(ContentError) {
        guard count <= Self.largestChunk else {
            throw ContentError(.limitExceeded, "a range of \(count) bytes")
        }
        batch = nil
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<count])
        try unsafe source.fetch(at: CompressedOffset(start), into: buffer)
    }

    /// The verified content of a chunk of the range that was fetched last.
    ///
    /// A batch is decompressed once, if its members come one after another.
    ///
    /// - Parameters:
    ///   - chunk: its record.
    ///   - coding: how it is stored and named.
    ///   - start: where the range began in the blob.
    ///   - body: gets the content, which lives as long as the call.
    /// - Throws: `ContentError` if it cannot be decompressed or its digest is another.
    package mutating func withContent(
        of chunk: Chunk,
        _ coding: ChunkCoding,
        inRangeFrom start: UInt64,
        _ body: (RawSpan) -> Void
    ) throws(ContentError) {
        guard chunk.compressedOffset.bytes >= start,
            chunk.compressedOffset.bytes - start + UInt64(chunk.compressedSize)
                <= UInt64(Self.largestChunk),
            chunk.isPlausible(maximumSize: UInt32(Self.largestChunk))
        else { throw .corrupt("chunk lies outside of the range that was fetched for it") }
        let offset = Int(chunk.compressedOffset.bytes - start)
        let unit = try unsafe unit(
            of: chunk,
            coding,
            at: offset..<offset + Int(chunk.compressedSize)
        )
        let first = Int(chunk.unitOffset)
        let bytes = unsafe RawSpan(
            _unsafeBytes: UnsafeRawBufferPointer(
                rebasing: unit[first..<first + Int(chunk.uncompressedSize)]
            )
        )
        guard chunk.digest != .zero else {
            throw .corrupt("the image names no digest of the chunk")
        }
        let digest = coding.digester.digest(of: bytes)
        guard digest == chunk.digest else {
            throw .corrupt("content has digest \(digest.hex), expected \(chunk.digest.hex)")
        }
        body(bytes)
    }

    /// What is decompressed together: the chunk, or its batch.
    private mutating func unit(
        of chunk: Chunk,
        _ coding: ChunkCoding,
        at range: Range<Int>
    ) throws(ContentError) -> UnsafeRawBufferPointer {
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: stored.bytes[range])
        guard chunk.isCompressed else { return unsafe bytes }
        let output = unsafe UnsafeMutableRawBufferPointer(
            rebasing: content.bytes[..<Int(chunk.unitSize)]
        )
        if chunk.batch == nil || batch != range {
            batch = nil
            try unsafe decompressor.decompress(bytes, by: coding.compressor, into: output)
            if chunk.batch != nil { batch = range }
        }
        return UnsafeRawBufferPointer(output)
    }

    /// Gives the buffers' pages back to the kernel.
    package mutating func rest() {
        batch = nil
        stored.discardPages()
        content.discardPages()
    }
}
