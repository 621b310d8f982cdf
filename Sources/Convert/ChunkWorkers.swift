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
    // @unchecked: the monitor's lock passes the job from one thread to the other, as said above.
    /// Room for one full chunk.
    let buffer: UnsafeMutableRawBufferPointer
    /// How many bytes of the buffer are content.
    var count = 0
    /// The content's digest, once done.
    fileprivate(set) var digest = Digest.zero
    /// The compressed bytes, once done, if `isCompressed`.
    fileprivate(set) var compressed: [UInt8] = []
    fileprivate(set) var isCompressed = false
    fileprivate(set) var error: ContentError?
    fileprivate let isDone = Monitor(false)

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
        isDone.wait { (done: inout Bool) -> Void? in done ? () : nil }
        if let error { throw error }
    }
}

/// Digests of the chunks that a layer's blob has already: their content need not be compressed.
///
/// Whether a worker sees a digest in time changes how much work is done, never the result.
final class KnownDigests: Sendable {
    private let digests = Mutex<Set<Digest>>([])

    func contains(_ digest: Digest) -> Bool {
        digests.withLock { $0.contains(digest) }
    }

    func insert(_ digest: Digest) {
        digests.withLock { _ = $0.insert(digest) }
    }
}

/// The threads that digest and compress chunks, for all layers of a conversion.
final class ChunkWorkers: Sendable {
    private struct Queue {
        var jobs: [(job: ChunkJob, known: KnownDigests)] = []
        var isClosed = false
    }

    private let queue = Monitor(Queue())

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
        workers.queue.update { $0.isClosed = true }
        group.wait()
        return try result.get()
    }

    /// Hands a filled job to the workers.
    func submit(_ job: ChunkJob, known: KnownDigests) {
        job.isDone.update { $0 = false }
        queue.update { $0.jobs.append((job, known)) }
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
        while let (job, known) = next() {
            do throws(ContentError) {
                job.digest = StreamingDigest.digest(of: job.content)
                job.isCompressed = false
                if !known.contains(job.digest) {
                    job.isCompressed =
                        try compressor?.compress(job.content, into: &job.compressed) ?? false
                }
                job.error = nil
            } catch {
                job.error = error
            }
            job.isDone.update { $0 = true }
        }
    }

    /// Answers every job with the error that kept this worker from its work.
    private func fail(_ error: ContentError) {
        while let (job, _) = next() {
            job.error = error
            job.isDone.update { $0 = true }
        }
    }

    private func next() -> (job: ChunkJob, known: KnownDigests)? {
        queue.wait { (queue: inout Queue) -> (ChunkJob, KnownDigests)?? in
            if !queue.jobs.isEmpty { return .some(queue.jobs.removeFirst()) }
            return queue.isClosed ? .some(nil) : .none
        }
    }
}
