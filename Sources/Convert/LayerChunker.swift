// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Layers
import RAFS

/// Cuts a layer's file contents into chunks and writes them to the layer's blob, in order.
///
/// Contents are read straight into the chunks' buffers. While workers digest and compress, the
/// layer is read on; the results are taken back in the order of the contents, so that the blob
/// does not depend on the number of threads. Chunk addresses given out are provisional: their
/// index counts every piece of content, and `chunkIndexes` tells which chunk it became.
struct LayerChunker<Sink: ByteSink>: LayerContentSink {
    private var writer: BlobWriter<Sink>
    private let workers: ChunkWorkers
    private let chunkSize: Int
    private let known = KnownChunks()
    private var running: [ChunkJob] = []
    private var idle: [ChunkJob] = []
    private let runningLimit: Int
    private let pieceLimit: Int
    private let meter: LayerProgressMeter
    /// The chunk that each piece of content became, by provisional index.
    private(set) var chunkIndexes: [UInt32] = []
    private var pieceCount: UInt32 = 0

    /// Chunks for a blob.
    ///
    /// - Parameters:
    ///   - writer: the blob.
    ///   - workers: digest and compress.
    ///   - chunkSize: the size of a full chunk, in bytes.
    ///   - runningLimit: how many chunks may be under way at once; each takes twice its size.
    ///   - pieceLimit: the most pieces of content, below 2^32.
    ///   - meter: told after each piece.
    init(
        writer: consuming BlobWriter<Sink>,
        workers: ChunkWorkers,
        chunkSize: Int,
        runningLimit: Int,
        pieceLimit: Int = LayerLimits.standard.chunks,
        meter: LayerProgressMeter
    ) {
        self.meter = meter
        self.writer = writer
        self.workers = workers
        self.chunkSize = chunkSize
        self.runningLimit = runningLimit
        self.pieceLimit = pieceLimit
    }

    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress] {
        var addresses: [ChunkAddress] = []
        var rest = size
        while rest > 0 {
            let job = try idleJob()
            job.count = Int(min(rest, UInt64(chunkSize)))
            var filled = 0
            while filled < job.count {
                let part = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: job.buffer[filled..<job.count]
                )
                let count = try unsafe read(part)
                guard count > 0 else {
                    throw .truncated("a file's content ends \(rest) bytes early")
                }
                filled += count
            }
            rest -= UInt64(job.count)
            guard pieceCount < pieceLimit else {
                throw ContentError(.limitExceeded, "more than \(pieceLimit) chunks in a layer")
            }
            addresses.append(ChunkAddress(blob: 0, index: pieceCount))
            pieceCount += 1
            running.append(job)
            workers.submit(job, known: known)
            meter.report()
        }
        return addresses
    }

    /// Waits for all chunks and gives the blob back.
    ///
    /// - Returns: the blob, with every chunk, and the chunk that each piece became.
    /// - Throws: `ContentError` if a worker or the blob fails.
    consuming func finish() throws(ContentError) -> (
        writer: BlobWriter<Sink>, chunkIndexes: [UInt32]
    ) {
        while !running.isEmpty { try writeFirst() }
        return (writer, chunkIndexes)
    }

    private mutating func idleJob() throws(ContentError) -> ChunkJob {
        if let job = idle.popLast() { return job }
        if running.count < runningLimit { return ChunkJob(chunkSize: chunkSize) }
        try writeFirst()
        return try idleJob()
    }

    /// Takes back the oldest job and writes its chunk, unless the blob has it already.
    private mutating func writeFirst() throws(ContentError) {
        let job = running.removeFirst()
        try job.waitUntilDone()
        if let index = known[job.digest] {
            chunkIndexes.append(index)
        } else {
            let index = try append(job)
            known[job.digest] = index
            chunkIndexes.append(index)
        }
        idle.append(job)
    }

    private mutating func append(_ job: ChunkJob) throws(ContentError) -> UInt32 {
        // A worker leaves a known digest uncompressed; such a chunk is never written.
        guard job.isCompressed else {
            return try writer.append(
                stored: job.content,
                digest: job.digest,
                contentSize: UInt32(job.count)
            )
        }
        let compressed = job.compressed
        return try writer.append(
            stored: compressed.rawSpan,
            digest: job.digest,
            contentSize: UInt32(job.count)
        )
    }
}
