// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux

/// What one fetching thread works with: buffers and a decompressor, made once.
struct ChunkFetcher: ~Copyable {
    /// The largest chunk, stored or not: 24 bits of size.
    static let largestChunk = 1 << 24

    private var stored: AnonymousMemory
    private var content: AnonymousMemory
    private var decompressor: ChunkDecompressor

    /// Buffers and decompressor of one thread.
    ///
    /// - Throws: `SystemError` or `ContentError` if there is no memory.
    init() throws {
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
    mutating func fetch(
        _ start: UInt64,
        _ count: Int,
        from source: any BlobSource
    ) throws(ContentError) {
        guard count <= Self.largestChunk else {
            throw ContentError(.limitExceeded, "a range of \(count) bytes")
        }
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<count])
        try unsafe source.fetch(at: CompressedOffset(start), into: buffer)
    }

    /// The verified content of a chunk of the range that was fetched last.
    ///
    /// - Parameters:
    ///   - chunk: its record.
    ///   - start: where the range began in the blob.
    ///   - body: gets the content, which lives as long as the call.
    /// - Throws: `ContentError` if it cannot be decompressed or its digest is another.
    mutating func withContent(
        of chunk: Chunk,
        inRangeFrom start: UInt64,
        _ body: (RawSpan) -> Void
    ) throws(ContentError) {
        guard chunk.compressedOffset.bytes >= start,
            chunk.compressedOffset.bytes - start + UInt64(chunk.compressedSize)
                <= UInt64(Self.largestChunk),
            Int(chunk.uncompressedSize) <= Self.largestChunk
        else { throw .corrupt("chunk lies outside of the range that was fetched for it") }
        let offset = Int(chunk.compressedOffset.bytes - start)
        let end = offset + Int(chunk.compressedSize)
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: stored.bytes[offset..<end])
        guard chunk.isCompressed else {
            return try check(unsafe RawSpan(_unsafeBytes: bytes), chunk, body)
        }
        let output = unsafe UnsafeMutableRawBufferPointer(
            rebasing: content.bytes[..<Int(chunk.uncompressedSize)]
        )
        try unsafe decompressor.decompress(bytes, into: output)
        try check(unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(output)), chunk, body)
    }

    private func check(
        _ bytes: RawSpan,
        _ chunk: Chunk,
        _ body: (RawSpan) -> Void
    ) throws(ContentError) {
        let digest = StreamingDigest.digest(of: bytes)
        guard digest == chunk.digest else {
            throw .corrupt("content has digest \(digest), expected \(chunk.digest)")
        }
        body(bytes)
    }

    /// Gives the buffers' pages back to the kernel.
    mutating func rest() {
        stored.discardPages()
        content.discardPages()
    }
}
