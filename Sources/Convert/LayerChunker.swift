// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Layers
import RAFS

/// Takes the distinct chunks of a layer, in the order in which its contents first need them.
protocol ChunkOutput {
    /// Whether it needs more of a chunk than its digest.
    static var needsContent: Bool { get }

    /// Learns of a piece of content before it is read, whether it becomes a chunk or not.
    ///
    /// - Parameters:
    ///   - place: where it stands in the layer's tar; nil where that is not at a stretch.
    ///   - size: its size, in bytes.
    mutating func prepare(forPieceAt place: UncompressedOffset?, size: Int)

    /// Takes a chunk and where it stands in the layer's tar; else as `append` without that.
    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32,
        place: UncompressedOffset?
    ) throws(ContentError) -> UInt32

    /// Takes a chunk.
    ///
    /// - Parameters:
    ///   - stored: its bytes as stored: compressed, or as they are if that is not smaller.
    ///   - digest: the digest of its content.
    ///   - contentSize: the size of its content, in bytes: at least 1.
    /// - Returns: its index: how many were taken before.
    /// - Throws: `ContentError` if it cannot be kept.
    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32
    ) throws(ContentError) -> UInt32
}

/// What holds where the contents are stored anew.
extension ChunkOutput {
    static var needsContent: Bool { true }

    mutating func prepare(forPieceAt place: UncompressedOffset?, size: Int) {}

    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32,
        place: UncompressedOffset?
    ) throws(ContentError) -> UInt32 {
        try append(stored: stored, digest: digest, contentSize: contentSize)
    }
}

extension BlobWriter: ChunkOutput {}

/// How many pieces of a layer's content there are, and what became of them.
package struct PieceCounts: Sendable {
    /// Some of the pieces.
    package struct Count: Sendable {
        /// How many.
        package var pieces = 0
        /// Their bytes.
        package var bytes: UInt64 = 0

        fileprivate mutating func add(_ size: Int) {
            pieces += 1
            bytes &+= UInt64(size)
        }
    }

    /// All pieces.
    package var all = Count()
    /// Those that the layer's blob had already.
    package var repeated = Count()
    /// Those that a chunk dictionary has.
    package var inDictionary = Count()
}

/// Cuts a layer's file contents into chunks and hands them on, each once, in order.
///
/// Contents are read straight into the chunks' buffers. While workers digest and compress, the
/// layer is read on; the results are taken back in the order of the contents, so that the output
/// does not depend on the number of threads. Chunk addresses given out are provisional: their
/// index counts every piece of content, and `addresses` tells which chunk it became.
struct LayerChunker<Output: ChunkOutput>: LayerContentSink {
    private var output: Output
    private let workers: ChunkWorkers
    private let chunkSize: Int
    private let known: KnownChunks
    private var running: [ChunkJob] = []
    private var idle: [ChunkJob] = []
    private let runningLimit: Int
    private let pieceLimit: Int
    private let meter: LayerProgressMeter
    private let isCompressing: Bool
    /// Where the next file's content stands.
    private var place: UncompressedOffset?
    /// The chunk that each piece of content became, by provisional index: one of the output, blob
    /// 0, or one of the dictionary.
    private(set) var addresses: [ChunkAddress] = []
    private var pieceCount: UInt32 = 0
    /// What became of the pieces so far.
    private(set) var counts = PieceCounts()
    /// Where the time went so far; reading is not known here.
    private(set) var times = LayerTimes()

    /// Chunks for an output.
    ///
    /// - Parameters:
    ///   - output: takes the chunks.
    ///   - workers: digest and compress.
    ///   - dictionary: has chunks that the output does not get.
    ///   - chunkSize: the size of a full chunk, in bytes.
    ///   - runningLimit: how many chunks may be under way at once; each takes twice its size.
    ///   - pieceLimit: the most pieces of content, below 2^32.
    ///   - isCompressing: whether the output needs more of a chunk than its digest.
    ///   - meter: told after each piece.
    init(
        output: consuming Output,
        workers: ChunkWorkers,
        dictionary: ChunkDictionary = .empty,
        chunkSize: Int,
        runningLimit: Int,
        pieceLimit: Int = LayerLimits.standard.chunks,
        isCompressing: Bool = true,
        meter: LayerProgressMeter
    ) {
        self.meter = meter
        self.isCompressing = isCompressing
        self.output = output
        known = KnownChunks(dictionary)
        self.workers = workers
        self.chunkSize = chunkSize
        self.runningLimit = runningLimit
        self.pieceLimit = pieceLimit
    }

    mutating func prepare(forContentAt place: UncompressedOffset?) {
        self.place = place
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
            job.place = place.map { UncompressedOffset($0.bytes &+ (size - rest)) }
            output.prepare(forPieceAt: job.place, size: job.count)
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
                throw LayerLimits.chunksError(limit: pieceLimit)
            }
            addresses.append(ChunkAddress(blob: 0, index: pieceCount))
            pieceCount += 1
            running.append(job)
            workers.submit(job, known: known, isCompressing: isCompressing)
            meter.report()
        }
        return addresses
    }

    /// Waits for all chunks and hands them on; the last call but for `finish`.
    ///
    /// - Throws: `ContentError` if a worker or the output fails.
    mutating func writeAll() throws(ContentError) {
        while !running.isEmpty { try writeFirst() }
    }

    /// Gives the output back, with every chunk, and the chunk that each piece became.
    ///
    /// - Throws: `ContentError` if a worker or the output fails.
    consuming func finish() throws(ContentError) -> (output: Output, addresses: [ChunkAddress]) {
        try writeAll()
        return (output, addresses)
    }

    private mutating func idleJob() throws(ContentError) -> ChunkJob {
        if let job = idle.popLast() { return job }
        if running.count < runningLimit { return ChunkJob(chunkSize: chunkSize) }
        try writeFirst()
        return try idleJob()
    }

    /// Takes back the oldest job and hands its chunk on, unless it is known already.
    private mutating func writeFirst() throws(ContentError) {
        var watch = Stopwatch()
        let job = running.removeFirst()
        try job.waitUntilDone()
        times.wait &+= watch.lap()
        times.digest &+= job.digestTime
        times.compress &+= job.compressTime
        counts.all.add(job.count)
        if let address = known.address(of: job.digest, size: job.count) {
            addresses.append(address)
            if address.blob == 0 {
                counts.repeated.add(job.count)
            } else {
                counts.inDictionary.add(job.count)
            }
        } else {
            let index = try append(job)
            known.insert(job.digest, index: index)
            addresses.append(ChunkAddress(blob: 0, index: index))
        }
        times.write &+= watch.lap()
        idle.append(job)
    }

    private mutating func append(_ job: ChunkJob) throws(ContentError) -> UInt32 {
        // A worker leaves a known digest uncompressed; such a chunk is never written.
        guard job.isCompressed else {
            return try output.append(
                stored: job.content,
                digest: job.digest,
                contentSize: UInt32(job.count),
                place: job.place
            )
        }
        let compressed = job.compressed
        return try output.append(
            stored: compressed.rawSpan,
            digest: job.digest,
            contentSize: UInt32(job.count),
            place: job.place
        )
    }
}
