// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Log
import Synchronization

/// The threads that fetch chunks, and answer the reads that waited for them.
///
/// A read that misses is handed over and its caller goes on; the answer comes from here. The
/// decisions are `FetchTable`'s; this runs them, outside of its lock.
final class FetchScheduler: Sendable {
    private typealias Table = FetchTable<PendingRead, [UInt8]>

    private struct State {
        var table: Table
        var blobs: [UInt32: CachedBlob] = [:]
        var isClosed = false
    }

    /// How long a thread keeps its buffers' pages when there is nothing to fetch.
    private static let restMilliseconds = 1_000
    /// The largest answer: the most that the kernel asks for at once.
    private static let largestRead = 1 << 20
    /// Adjacent chunks are fetched with one request of at most this many bytes.
    private static let mergeLimit: UInt64 = 4 << 20

    /// A monitor, though nobody waits on it: the thread sanitizer does not see that a `Mutex` of
    /// Synchronization, which is a bare futex, keeps threads apart.
    private let state: Monitor<State>
    /// Counts queued jobs; at the end it is raised once per thread.
    private let work = Semaphore()
    private let threads = ThreadGroup()
    private let threadCount: Int
    private let counters: CacheCounters
    private let log: Logger
    /// Blobs whose backing file has refused a write: said once.
    private let refused = Mutex<Set<UInt32>>([])
    /// Called with the number of bytes that were stored.
    private let onStored: @Sendable (Int) -> Void

    /// A scheduler whose threads are running.
    ///
    /// - Throws: `SystemError` or `ContentError` if there is no thread or memory.
    init(
        threadCount: Int,
        counters: CacheCounters,
        log: Logger,
        onStored: @escaping @Sendable (Int) -> Void
    ) throws {
        state = Monitor(State(table: Table(mergeLimit: Self.mergeLimit)))
        self.threadCount = max(threadCount, 1)
        self.counters = counters
        self.log = log
        self.onStored = onStored
        do {
            for index in 0..<self.threadCount {
                let desk = try Desk()
                try threads.start(name: "fetch-\(index)") { self.work(desk) }
            }
        } catch {
            close()
            throw error
        }
    }

    /// What a thread works with; used by that thread only.
    private final class Desk: @unchecked Sendable {
        // @unchecked: made by init's thread, then used by one other.
        var fetcher: ChunkFetcher
        var answer: AnonymousMemory

        init() throws {
            fetcher = try ChunkFetcher()
            answer = try AnonymousMemory(byteCount: FetchScheduler.largestRead)
        }
    }

    /// Makes a blob known.
    func add(_ blob: CachedBlob) {
        state.update { $0.blobs[blob.number] = blob }
    }

    /// Takes a read in.
    ///
    /// Its waiter is answered from another thread, or at once by this one if nothing is missing any
    /// more or nothing can be done.
    func begin(_ read: PendingRead) {
        enum Action {
            case answer
            case wait(jobs: Int)
            case fail(ContentError)
        }
        guard read.byteCount <= Self.largestRead else {
            return read.waiter.fail(
                ContentError(.limitExceeded, "a read of \(read.byteCount) bytes")
            )
        }
        let action: Action = state.update { state in
            guard !state.isClosed else {
                return .fail(ContentError(.inputOutput, "the chunk cache is closed"))
            }
            // Under the lock: a chunk's bit is set before it leaves the table, so that one of the
            // two shows it.
            do throws(ContentError) {
                let missing = try read.missingChunks()
                if missing.isEmpty { return .answer }
                return .wait(jobs: state.table.begin(read, missing: missing, priority: .demand))
            } catch {
                return .fail(error)
            }
        }
        switch action {
        case .wait(let jobs):
            for _ in 0..<jobs { work.signal() }
        case .answer:
            answerHere(read)
        case .fail(let error):
            log.error("read failed", ["cause": error])
            read.waiter.fail(error)
        }
    }

    /// Answers a read whose chunks came between its caller's look and ours.
    private func answerHere(_ read: PendingRead) {
        do {
            let memory = try AnonymousMemory(byteCount: max(read.byteCount, 1))
            unsafe answer(Table.Finished(read: read, failure: nil, inMemory: [:]), memory.bytes)
        } catch {
            read.waiter.fail(ContentError(.inputOutput, "\(error)"))
        }
    }

    /// Ends the threads after the jobs they have begun; all other reads fail.
    func close() {
        refuseReads()
        for _ in 0..<threadCount { work.signal() }
        threads.wait()
    }

    /// Fails the reads whose jobs nobody has begun, and all that come.
    func refuseReads() {
        let jobs: [FetchJob] = state.update { state in
            state.isClosed = true
            var jobs: [FetchJob] = []
            while let job = state.table.next() { jobs.append(job) }
            return jobs
        }
        let error = ContentError(.inputOutput, "the chunk cache is closed")
        for job in jobs {
            for chunk in job.chunks { finish(chunk.key, .failed(error), nil) }
        }
    }

    private func work(_ desk: Desk) {
        while true {
            if !work.wait(milliseconds: Self.restMilliseconds) {
                desk.fetcher.rest()
                desk.answer.discardPages()
                work.wait()
            }
            let (job, isClosed) = state.update { ($0.table.next(), $0.isClosed) }
            if let job {
                perform(job, desk)
            } else if isClosed {
                return
            }
        }
    }

    private func perform(_ job: FetchJob, _ desk: Desk) {
        guard let first = job.chunks.first, let last = job.chunks.last else { return }
        guard let blob = state.update({ $0.blobs[first.key.blob] }) else {
            preconditionFailure("only blobs that were added have reads")
        }
        let count = Int(last.end - first.offset)
        do throws(ContentError) {
            try desk.fetcher.fetch(first.offset, count, from: blob.source)
        } catch {
            logFailure(blob, first.offset, count, error)
            for chunk in job.chunks { finish(chunk.key, .failed(error), desk) }
            return
        }
        counters.countFetch(bytes: count)
        for chunk in job.chunks {
            let outcome = store(chunk, of: blob, from: first.offset, desk)
            finish(chunk.key, outcome, desk)
        }
        storeCompanions(job, of: blob, desk)
    }

    /// Verifies a chunk that was fetched, and stores it.
    private func store(
        _ wanted: WantedChunk,
        of blob: CachedBlob,
        from start: UInt64,
        _ desk: Desk
    ) -> Table.Outcome {
        var outcome = Table.Outcome.stored
        do throws(ContentError) {
            let index = Int(wanted.key.index)
            let chunk = try blob.checkedChunk(at: index)
            try desk.fetcher.withContent(of: chunk, blob.coding, inRangeFrom: start) { bytes in
                do throws(SystemError) {
                    try blob.backing.store(bytes, chunk: index, at: chunk.uncompressedOffset)
                    onStored(bytes.byteCount)
                } catch {
                    logRefusal(blob, error)
                    outcome = unsafe .inMemory(bytes.withUnsafeBytes { unsafe Array($0) })
                }
            }
        } catch {
            logFailure(blob, wanted.offset, Int(wanted.size), error)
            return .failed(error)
        }
        return outcome
    }

    /// Stores what was decompressed together with chunks that were wanted, and is here for nothing.
    ///
    /// A companion that another job has fetched meanwhile is stored twice, with the same bytes; one
    /// that is damaged is passed over: whoever wants it is told.
    private func storeCompanions(_ job: FetchJob, of blob: CachedBlob, _ desk: Desk) {
        var unit: Chunk?
        for wanted in job.chunks {
            let index = Int(wanted.key.index)
            guard let chunk = try? blob.checkedChunk(at: index), chunk.batch != nil,
                unit.map({ $0.sharesUnit(with: chunk) }) != true
            else { continue }
            unit = chunk
            for other in blob.companions(of: index, chunk)
            where !blob.backing.contains(other.index) {
                try? desk.fetcher.withContent(
                    of: other.chunk,
                    blob.coding,
                    inRangeFrom: job.chunks[0].offset
                ) { bytes in
                    let place = other.chunk.uncompressedOffset
                    guard
                        (try? blob.backing.store(bytes, chunk: other.index, at: place)) != nil
                    else { return }
                    onStored(bytes.byteCount)
                }
            }
        }
    }

    private func finish(_ key: ChunkKey, _ outcome: Table.Outcome, _ desk: Desk?) {
        let finished = state.update { $0.table.finish(key, outcome) }
        for read in finished {
            if let desk {
                unsafe answer(read, desk.answer.bytes)
            } else {
                read.read.waiter.fail(
                    read.failure ?? ContentError(.inputOutput, "the chunk cache is closed")
                )
            }
        }
    }

    private func answer(_ finished: Table.Finished, _ memory: UnsafeMutableRawBufferPointer) {
        let read = finished.read
        if let failure = finished.failure { return read.waiter.fail(failure) }
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[..<read.byteCount])
        do throws(ContentError) {
            if try unsafe read.assemble(into: buffer, finished.inMemory) {
                let bytes = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(buffer))
                read.waiter.succeed(bytes)
            } else if read.attemptsLeft > 0 {
                begin(read.again())
            } else {
                throw ContentError(.inputOutput, "the backing file loses what is written to it")
            }
        } catch {
            log.error("read failed", ["cause": error])
            read.waiter.fail(error)
        }
    }

    private func logFailure(
        _ blob: CachedBlob,
        _ offset: UInt64,
        _ count: Int,
        _ error: ContentError
    ) {
        counters.countFailure()
        log.error(
            "fetch failed",
            ["blob": blob.digest, "offset": offset, "bytes": count, "cause": error]
        )
    }

    /// The reads of such a blob go on, uncached.
    private func logRefusal(_ blob: CachedBlob, _ error: SystemError) {
        guard refused.withLock({ $0.insert(blob.number).inserted }) else { return }
        log.warning("chunks are not cached", ["blob": blob.digest, "cause": error])
    }
}
