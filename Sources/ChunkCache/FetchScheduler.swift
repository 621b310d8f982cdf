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
    typealias Table = FetchTable<PendingRead, [UInt8]>

    struct State {
        var table: Table
        var blobs: [UInt32: CachedBlob] = [:]
        var readers: [UInt32: SequentialReaders] = [:]
        /// The blobs that pass whole, and the chunks that jobs want of them.
        var passing: [UInt32: [WantedChunk]] = [:]
        /// When a blob's backing file last refused a write: nothing is fetched ahead for a while.
        var refusals: [UInt32: UInt64] = [:]
        var failures = RecentFailures()
        /// Chunks of which wrong bytes came, and that are asked for once more.
        var askedAgain: Set<ChunkKey> = []
        /// How many threads there are, or are about to be.
        var threadCount = 1
        /// How many of them do a job.
        var busyCount = 0
        /// How many of those do one that no read waits for.
        var aheadCount = 0
        var isWatching = false
        var isClosed = false
    }

    /// How long a thread keeps its buffers' pages when there is nothing to fetch.
    private static let restMilliseconds = 1_000
    /// The largest answer: the most that the kernel asks for at once.
    static let largestRead = 1 << 20
    /// Adjacent chunks are fetched with one request of at most this many bytes.
    private static let mergeLimit: UInt64 = 4 << 20

    let state: Monitor<State>
    /// Raised for every queued job, and at the end once per thread.
    let work = Semaphore()
    let threads = ThreadGroup()
    let deadlines: ReadDeadlines
    let limits: FetchLimits
    let counters: CacheCounters
    let log: Logger
    /// Called with the number of bytes that were stored.
    let onStored: @Sendable (Int) -> Void

    /// A scheduler with one thread; more come when it has more to do.
    ///
    /// - Throws: `SystemError` or `ContentError` if there is no thread or memory.
    init(
        _ limits: FetchLimits,
        counters: CacheCounters,
        log: Logger,
        onStored: @escaping @Sendable (Int) -> Void
    ) throws {
        state = Monitor(State(table: Table(mergeLimit: Self.mergeLimit)))
        self.limits = limits
        deadlines = ReadDeadlines(limits.deadlineMilliseconds)
        self.counters = counters
        self.log = log
        self.onStored = onStored
        do {
            try startThread(0)
            try threads.start(name: "deadline") { self.watchDeadlines() }
        } catch {
            close()
            throw error
        }
    }

    /// What a thread works with; used by that thread only.
    final class Desk: @unchecked Sendable {
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

    /// Forgets a blob; whoever still reads from it gets an error.
    func remove(_ blob: CachedBlob) {
        state.update { state in
            state.blobs[blob.number] = nil
            state.readers[blob.number] = nil
            state.refusals[blob.number] = nil
        }
    }

    /// Ends the threads after the jobs they have begun; all other reads fail.
    func close() {
        refuseReads()
        for _ in 0..<limits.threads { work.signal() }
        deadlines.close()
        threads.wait()
        // Blobs know the scheduler, and it knows them.
        state.update { $0.blobs = [:] }
    }

    /// Fails the reads whose jobs nobody has begun, and all that come.
    func refuseReads() {
        let jobs: [FetchJob] = state.update { state in
            state.isClosed = true
            var jobs: [FetchJob] = []
            while let job = state.table.next() { jobs.append(job) }
            return jobs
        }
        for job in jobs { fail(job, Self.closed) }
    }

    static let closed = ContentError(.inputOutput, "the chunk cache is closed")

    /// Fails the reads that wait for a job's chunks.
    private func fail(_ job: FetchJob, _ error: ContentError) {
        for chunk in job.chunks { finish(chunk.key, .failed(error), nil) }
    }

    private func startThread(_ number: Int) throws {
        let desk = try Desk()
        try threads.start(name: "fetch-\(number)") { self.work(desk) }
    }

    /// Called by a thread of the group, so that `close` waits for the new one as well.
    private func startFurtherThread(_ number: Int) {
        do {
            try startThread(number)
        } catch {
            state.update { $0.threadCount -= 1 }
            log.debug("no further thread to fetch with", ["cause": "\(error)"])
        }
    }

    private func work(_ desk: Desk) {
        while true {
            let (job, isClosed, newThread) = state.update { state in
                let job = state.nextJob(limits)
                return (job, state.isClosed, state.nextThread(limits))
            }
            if let newThread { startFurtherThread(newThread) }
            if let job {
                perform(job, desk)
                state.update { $0.ended(job) }
            } else if isClosed {
                return
            } else if !work.wait(milliseconds: Self.restMilliseconds) {
                desk.fetcher.rest()
                desk.answer.discardPages()
                work.wait()
            }
        }
    }

    /// Does a job: fetches, verifies and stores its chunks.
    private func perform(_ job: FetchJob, _ desk: Desk) {
        guard let first = job.chunks.first, let blob = begun(job, first.key.blob) else { return }
        let count = job.byteCount
        let servers: BlobServers
        do throws(ContentError) {
            guard let found = try desk.fetcher.fetchRange(first.offset, count, from: blob.source)
            else { return passWhole(blob, for: job) }
            servers = found
        } catch {
            return retry(job, of: blob, count, error)
        }
        counters.countFetch(bytes: count)
        // Whoever waits for the first chunk of a long request does not wait for the last.
        for chunk in state.update({ $0.table.inOrderOfNeed(job.chunks) }) {
            let outcome = store(chunk, of: blob, from: first.offset, desk)
            settle(chunk, of: blob, outcome, servers, desk, hasSecondChance: true)
        }
        storeCompanions(job, of: blob, desk)
    }

    /// The blob of a job that is to be done by a request of its own.
    private func begun(_ job: FetchJob, _ number: UInt32) -> CachedBlob? {
        enum Action {
            case fetch(CachedBlob)
            case fail
            case nothing
        }
        let action: Action = state.update { state in
            guard let blob = state.blobs[number] else { return .fail }
            // All of it may have passed by meanwhile.
            let chunks = job.chunks.filter { state.table.isInFlight($0.key) }
            if chunks.isEmpty { return .nothing }
            guard state.passing[number] == nil else {
                state.passing[number]? += chunks
                return .nothing
            }
            return .fetch(blob)
        }
        switch action {
        case .fetch(let blob): return blob
        case .nothing: return nil
        case .fail:
            fail(job, ContentError(.inputOutput, "the image is no longer mounted"))
            return nil
        }
    }

    /// After a request that failed: its chunks one by one, if there are several.
    private func retry(_ job: FetchJob, of blob: CachedBlob, _ count: Int, _ error: ContentError) {
        let offset = job.chunks[0].offset
        guard job.chunks.count > 1 else {
            return finish(job.chunks[0].key, .failed(error), nil) {
                logFailure(blob, offset, count, error)
            }
        }
        log.debug(
            "request split",
            ["blob": blob.digest, "offset": offset, "bytes": count, "cause": error]
        )
        askAgain(job)
    }

    /// Queues the chunks of a job, which reads wait for, one by one; the others are forgotten.
    func askAgain(_ job: FetchJob) {
        let (jobs, isClosed) = state.update { ($0.table.split(job), $0.isClosed) }
        for _ in 0..<jobs { work.signal() }
        if isClosed { refuseReads() }
    }

    /// Ends a chunk's fetch; one of which wrong bytes came is asked for elsewhere, if there is such
    /// a place.
    ///
    /// - Returns: whether others are asked from now on.
    @discardableResult
    func settle(
        _ wanted: WantedChunk,
        of blob: CachedBlob,
        _ outcome: Table.Outcome,
        _ servers: BlobServers,
        _ desk: Desk,
        hasSecondChance: Bool = false
    ) -> Bool {
        guard case .failed(let error) = outcome else {
            finish(wanted.key, outcome, desk)
            return false
        }
        let isElsewhere = blob.source.distrust(servers, because: error)
        // What a network damaged, it may bring unharmed the second time.
        let isSecond =
            !isElsewhere && hasSecondChance && !servers.numbers.isEmpty
            && state.update { state in
                state.table.isWaitedFor(wanted.key)
                    && state.askedAgain.insert(wanted.key).inserted
            }
        if isElsewhere || isSecond {
            askAgain(FetchJob(id: 0, priority: .demand, chunks: [wanted]))
            return isElsewhere
        }
        finish(wanted.key, outcome, desk) {
            logFailure(blob, wanted.offset, Int(wanted.size), error)
        }
        return false
    }

    /// Takes a chunk out of the table and answers the reads that waited for nothing else.
    ///
    /// - Parameters:
    ///   - key: the chunk.
    ///   - outcome: what became of it.
    ///   - desk: where answers are put together; nil where all are failures.
    ///   - ifWanted: called before the answers, if any read waited for the chunk.
    func finish(
        _ key: ChunkKey,
        _ outcome: Table.Outcome,
        _ desk: Desk?,
        ifWanted: () -> Void = {}
    ) {
        let (isWanted, finished) = state.update { state in
            let isWanted = state.table.isWaitedFor(key)
            // What nobody waited for was told to nobody: the next read tries for itself.
            if isWanted, case .failed(let error) = outcome {
                state.failures.note(key, error, at: CurrentProcess.monotonicNanoseconds)
            }
            state.askedAgain.remove(key)
            return (isWanted, state.table.finish(key, outcome))
        }
        if isWanted { ifWanted() }
        for read in finished {
            if let failure = read.failure {
                read.read.waiter.fail(failure)
            } else if let desk {
                unsafe answer(read, desk.answer.bytes)
            } else {
                read.read.waiter.fail(Self.closed)
            }
        }
    }

    /// Answers a read that waits for nothing any more.
    ///
    /// - Parameters:
    ///   - finished: the read; has not failed.
    ///   - memory: for the answer; at least as long.
    func answer(_ finished: Table.Finished, _ memory: UnsafeMutableRawBufferPointer) {
        let read = finished.read
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

    func logFailure(
        _ blob: CachedBlob,
        _ offset: UInt64,
        _ count: Int,
        _ error: ContentError
    ) {
        counters.countFailure()
        log.error(
            "fetch failed",
            [
                "blob": blob.digest, "offset": offset, "bytes": count, "cause": error,
                "source": blob.source.place,
            ]
        )
    }

    /// The reads of such a blob go on, uncached.
    func noteRefusal(_ blob: CachedBlob, _ error: SystemError) {
        let isFirst = state.update { state in
            state.refusals.updateValue(CurrentProcess.monotonicNanoseconds, forKey: blob.number)
                == nil
        }
        guard isFirst else { return }
        log.warning("chunks are not cached", ["blob": blob.digest, "cause": error])
    }
}

extension FetchScheduler.State {
    /// The next job that a thread is to do: some threads are left for what reads wait for.
    mutating func nextJob(_ limits: FetchLimits) -> FetchJob? {
        let isFree = aheadCount < limits.threads - limits.demandThreads
        let job = table.next(least: isFree ? .fill : .demand)
        guard let job else { return nil }
        busyCount += 1
        if job.priority != .demand { aheadCount += 1 }
        return job
    }

    /// A thread has done its job.
    mutating func ended(_ job: FetchJob) {
        busyCount -= 1
        if job.priority != .demand { aheadCount -= 1 }
    }

    /// The number of the thread that is to be started; nil for none.
    ///
    /// One is always left over for the next job, so that none waits for a thread to start.
    mutating func nextThread(_ limits: FetchLimits) -> Int? {
        guard !isClosed, busyCount == threadCount, threadCount < limits.threads else { return nil }
        threadCount += 1
        return threadCount - 1
    }
}
