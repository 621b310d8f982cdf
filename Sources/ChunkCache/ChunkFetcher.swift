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
    // Made by the first span: few images have any.
    private var spanDecoder: SpanDecoder?
    /// The batch or span whose content is in `content`; nil if there is none.
    private var batch: Batch?
    /// The part of a blob that `stored` holds, while a whole one passes.
    private var window: Range<UInt64> = 0..<0

    /// What is decompressed together, by its place in `stored`.
    private struct Batch: Equatable {
        var place: Range<Int>
        var checkpoint: UInt32?
    }

    /// Buffers and decompressor of one thread.
    ///
    /// - Throws: `SystemError` or `ContentError` if there is no memory.
    package init() throws {
        let stored = try AnonymousMemory(byteCount: Self.largestChunk)
        let content = try AnonymousMemory(
            byteCount: SpanDecoder.contentOffset + Self.largestChunk
        )
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
    /// - Returns: who served them; nil if the blob can only be had whole, and nothing was fetched.
    /// - Throws: `ContentError` if the source does not give all of it.
    mutating func fetchRange(
        _ start: UInt64,
        _ count: Int,
        from source: any BlobSource
    ) throws(ContentError) -> BlobServers? {
        let buffer = try unsafe buffer(count)
        return try unsafe source.fetchRange(at: CompressedOffset(start), into: buffer)
    }

    /// Fetches the stored bytes of a range, wherever they may be had.
    ///
    /// - Parameters:
    ///   - start: where the range begins in the blob.
    ///   - count: its length; at most `largestChunk`.
    ///   - source: the blob.
    /// - Returns: who served them, as far as is known.
    /// - Throws: `ContentError` if the source does not give all of it.
    package mutating func fetch(
        _ start: UInt64,
        _ count: Int,
        from source: any BlobSource
    ) throws(ContentError) -> BlobServers {
        if let servers = try fetchRange(start, count, from: source) { return servers }
        let buffer = try unsafe buffer(count)
        try unsafe source.fetch(at: CompressedOffset(start), into: buffer)
        return BlobServers()
    }

    /// Where a range of so many bytes goes.
    private mutating func buffer(
        _ count: Int
    ) throws(ContentError) -> UnsafeMutableRawBufferPointer {
        guard count <= Self.largestChunk else {
            throw ContentError(.limitExceeded, "a range of \(count) bytes")
        }
        batch = nil
        return unsafe UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<count])
    }

    /// The verified content of a chunk of the range that was fetched last.
    ///
    /// A batch or a span is decompressed once, if its chunks come one after another.
    ///
    /// - Parameters:
    ///   - chunk: its record.
    ///   - coding: how it is stored and named.
    ///   - checkpoints: those of the blob.
    ///   - start: where the range began in the blob.
    ///   - body: gets the content, which lives as long as the call.
    /// - Throws: `ContentError` if it cannot be decompressed or its digest is another.
    package mutating func withContent(
        of chunk: Chunk,
        _ coding: ChunkCoding,
        _ checkpoints: any CheckpointTable,
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
            checkpoints,
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

    /// What is decompressed together: the chunk, its batch or its span.
    private mutating func unit(
        of chunk: Chunk,
        _ coding: ChunkCoding,
        _ checkpoints: any CheckpointTable,
        at range: Range<Int>
    ) throws(ContentError) -> UnsafeRawBufferPointer {
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: stored.bytes[range])
        guard chunk.isCompressed else { return unsafe bytes }
        let start = SpanDecoder.contentOffset
        // The window of a span goes before the content.
        let memory = unsafe UnsafeMutableRawBufferPointer(
            rebasing: content.bytes[..<(start + Int(chunk.unitSize))]
        )
        let output = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start...])
        let wanted = chunk.batch.map { Batch(place: range, checkpoint: $0.checkpoint) }
        if wanted == nil || batch != wanted {
            batch = nil
            if let checkpoint = chunk.batch?.checkpoint {
                let decoder = spanDecoder ?? SpanDecoder()
                spanDecoder = decoder
                try checkpoints.withCheckpoint(checkpoint) {
                    (checkpoint, window) throws(ContentError) in
                    try unsafe decoder.decode(bytes, from: checkpoint, window: window, into: memory)
                }
            } else {
                try unsafe decompressor.decompress(bytes, by: coding.compressor, into: output)
            }
            batch = wanted
        }
        return UnsafeRawBufferPointer(output)
    }

    /// Forgets what is here of a blob: another one is going to pass.
    package mutating func rewind() {
        batch = nil
        window = 0..<0
    }

    /// Lets a blob pass until the stored bytes of a range are here; what lies before it is dropped.
    ///
    /// - Parameters:
    ///   - start: where the range begins in the blob: not before that of the range before.
    ///   - end: where it ends; at most `largestChunk` later.
    ///   - blob: the blob, read by this fetcher alone since `rewind`.
    /// - Returns: where what is here begins: not after the range.
    /// - Throws: `ContentError` if the blob cannot be read, or ends before.
    package mutating func pass(
        to start: UInt64,
        _ end: UInt64,
        of blob: any WholeBlob
    ) throws(ContentError) -> UInt64 {
        guard start >= window.lowerBound, end >= start,
            end - start <= UInt64(Self.largestChunk)
        else { throw ContentError(.limitExceeded, "a chunk of \(end) - \(start) bytes") }
        if end <= window.upperBound { return window.lowerBound }
        batch = nil
        while start > window.upperBound {
            try read(blob, at: 0, atMost: start - window.upperBound)
            window = window.upperBound..<window.upperBound
        }
        let rest = Int(window.upperBound - start)
        let dropped = Int(start - window.lowerBound)
        unsafe stored.bytes.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: stored.bytes[dropped..<dropped + rest])
        )
        window = start..<window.upperBound
        while window.upperBound < end {
            let count = Int(window.upperBound - start)
            try read(blob, at: count, atMost: UInt64(Self.largestChunk - count))
        }
        return start
    }

    /// Reads a piece of a blob to a place in `stored`; the window then ends behind it.
    private mutating func read(
        _ blob: any WholeBlob,
        at place: Int,
        atMost limit: UInt64
    ) throws(ContentError) {
        let end = place + Int(min(limit, Self.step))
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: stored.bytes[place..<end])
        let count = try unsafe blob.read(into: buffer)
        guard count > 0 else { throw .truncated("the blob ends at byte \(window.upperBound)") }
        window = window.lowerBound..<window.upperBound + UInt64(count)
    }

    /// How much is read of a blob at once, in bytes.
    private static let step: UInt64 = 1 << 20

    /// Gives the buffers' pages back to the kernel.
    package mutating func rest() {
        rewind()
        stored.discardPages()
        content.discardPages()
    }
}
