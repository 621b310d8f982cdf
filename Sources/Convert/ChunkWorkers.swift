// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux
import Synchronization

/// A piece of file content on its way through the workers.
///
/// Filled by a layer's thread, worked on by one worker, taken back by the layer's thread: between
/// `ChunkWorkers.submit` and `waitUntilDone` the job is the worker's alone.
@safe
final class ChunkJob: @unchecked Sendable {
    // @unchecked: semaphores pass the job from one thread to the other, as said above.
    /// Room for one full chunk.
    let buffer: UnsafeMutableRawBufferPointer
    /// How many bytes of the buffer are content.
    var count = 0
    /// Where they stand in the layer's tar.
    var place: UncompressedOffset?
    /// The content's digest, once done.
    fileprivate(set) var digest = Digest.zero
    /// The compressed bytes, once done, if `isCompressed`.
    fileprivate(set) var compressed: [UInt8] = []
    fileprivate(set) var isCompressed = false
    fileprivate(set) var error: ContentError?
    /// How long the worker digested and compressed, in nanoseconds.
    fileprivate(set) var digestTime: UInt64 = 0
    fileprivate(set) var compressTime: UInt64 = 0
    /// Raised once for each time that the job was submitted.
    fileprivate let done = Semaphore()

    init(chunkSize: Int) {
        unsafe buffer = .allocate(byteCount: chunkSize, alignment: 4096)
    }

    deinit {
        unsafe buffer.deallocate()
    }

    /// The content.
    var content: RawSpan {
        @_lifetime(borrow self)
        get {
            let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
            // Safe: the buffer lives as long as the job.
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: part), borrowing: self)
        }
    }

    /// Waits for the worker.
    ///
    /// - Throws: `ContentError` if it failed.
    func waitUntilDone() throws(ContentError) {
        done.wait()
        if let error { throw error }
    }
}

/// The chunks that a layer's blob or the dictionary has already: they need not be compressed.
///
/// Whether a worker sees a digest of the blob in time changes how much work is done, never the
/// result.
final class KnownChunks: Sendable {
    private let indexes = Mutex<[Digest: UInt32]>([:])
    private let dictionary: ChunkDictionary

    /// The dictionary's chunks, and none of the blob yet.
    init(_ dictionary: ChunkDictionary = .empty) {
        self.dictionary = dictionary
    }

    /// The address of the chunk: of the dictionary's, or of the blob's own, which is number 0; nil
    /// if none is known.
    func address(of digest: Digest, size: Int) -> ChunkAddress? {
        if let address = dictionary.address(of: digest, size: size) { return address }
        return indexes.withLock { $0[digest] }.map { ChunkAddress(blob: 0, index: $0) }
    }

    /// Makes a chunk of the blob known.
    func insert(_ digest: Digest, index: UInt32) {
        indexes.withLock { $0[digest] = index }
    }
}

/// The threads that digest and compress chunks, for all layers of a conversion.
final class ChunkWorkers: Sendable {
    private typealias Work = (job: ChunkJob, known: KnownChunks, isCompressing: Bool)

    private let queue = Mutex<[Work]>([])
    /// Counts queued jobs, so that one worker is woken for one job, which may be a file of ten
    /// bytes; at the end it is raised once per worker.
    private let work = Semaphore()

    /// Runs the body with workers at its service, and ends them after it.
    ///
    /// - Parameters:
    ///   - threads: how many workers.
    ///   - level: zstd's level; nil to compress nothing.
    ///   - body: gets the workers.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws, or an error if no thread can be had.
    static func run<T>(
        threads: Int,
        level: Int32?,
        _ body: (ChunkWorkers) throws -> T
    ) throws -> T {
        let workers = ChunkWorkers()
        let group = ThreadGroup()
        try group.start(name: "compress") { workers.work(level: level) }
        // With fewer threads than asked for the work takes longer, no more.
        for _ in 1..<max(1, threads) {
            try? group.start(name: "compress") { workers.work(level: level) }
        }
        let result = Result { try body(workers) }
        for _ in 0..<max(1, threads) { workers.work.signal() }
        group.wait()
        return try result.get()
    }

    /// Hands a filled job to the workers.
    func submit(_ job: ChunkJob, known: KnownChunks, isCompressing: Bool = true) {
        queue.withLock { $0.append((job, known, isCompressing)) }
        work.signal()
    }

    private func work(level: Int32?) {
        guard let level else { return work(with: nil) }
        let compressor: ChunkCompressor
        do throws(ContentError) {
            compressor = try ChunkCompressor(level: level)
        } catch {
            return fail(error)
        }
        work(with: compressor)
    }

    private func work(with compressor: consuming ChunkCompressor?) {
        while let (job, known, isCompressing) = next() {
            do throws(ContentError) {
                var watch = Stopwatch()
                job.digest = StreamingDigest.digest(of: job.content)
                job.digestTime = watch.lap()
                job.isCompressed = false
                if isCompressing, known.address(of: job.digest, size: job.count) == nil {
                    job.isCompressed =
                        try compressor?.compress(job.content, into: &job.compressed) ?? false
                }
                job.compressTime = watch.lap()
                job.error = nil
            } catch {
                job.error = error
            }
            job.done.signal()
        }
    }

    /// Answers every job with the error that kept this worker from its work.
    private func fail(_ error: ContentError) {
        while let (job, _, _) = next() {
            job.error = error
            job.done.signal()
        }
    }

    /// The next job; nil at the end.
    private func next() -> Work? {
        work.wait()
        return queue.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
}
