// SPDX-License-Identifier: Apache-2.0

import Content

/// How soon a chunk is wanted; demand first.
package enum FetchPriority: Int, Sendable, Comparable, CaseIterable {
    /// A program waits for it.
    case demand
    /// A trace of an earlier start says that it will be wanted next.
    case trace
    /// A reader that goes straight on will come to it.
    case ahead
    /// It lies beside something that was wanted.
    case neighbour
    /// Nothing else is to be done.
    case fill

    package static func < (left: FetchPriority, right: FetchPriority) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// Names a chunk among the blobs that a cache has open.
struct ChunkKey: Hashable, Sendable {
    /// The blob's number in the cache.
    var blob: UInt32
    /// The chunk's index in the blob.
    var index: UInt32
}

/// A chunk to be fetched, and where its stored bytes lie.
struct WantedChunk: Equatable, Sendable {
    var key: ChunkKey
    var offset: UInt64
    var size: UInt32

    var end: UInt64 { offset + UInt64(size) }
}

/// Chunks whose stored bytes follow each other: fetched with one request.
struct FetchJob: Equatable, Sendable {
    /// The job's number; later jobs have larger ones.
    var id: UInt64
    var priority: FetchPriority
    /// In the order of their stored bytes; all of one blob; at least one.
    var chunks: [WantedChunk]

    /// Where their stored bytes begin.
    var start: UInt64 { chunks.first?.offset ?? 0 }
    /// How many there are: up to the end that is farthest, since spans overlap.
    var byteCount: Int {
        Int(chunks.reduce(start) { max($0, $1.end) } - start)
    }
}

/// Who fetches which chunk, and who waits for it: decisions only, no lock, no thread, no I/O.
///
/// 1. A chunk is in at most one job, from `begin` or `queue` to its `finish`: it is fetched once,
///    however many reads want it.
/// 2. A read waits for each of its chunks that was missing; the `finish` of the last one returns
///    it, with the first failure among them, if any. Every read is returned exactly once.
/// 3. A chunk that failed is forgotten: the next read that wants it makes a new job.
/// 4. A request that fails says nothing about each of its chunks: those that reads wait for are
///    asked for once more, one by one.
///
/// `Read` is whatever the caller wants back; `Bytes` is what a chunk that could not be stored hands
/// to its waiters.
struct FetchTable<Read, Bytes> {
    /// What became of a chunk.
    enum Outcome {
        /// It is in the backing file.
        case stored
        /// It is right, but could not be stored: these are its bytes.
        case inMemory(Bytes)
        /// It could not be had.
        case failed(ContentError)
    }

    /// A read that waits for nothing any more.
    struct Finished {
        var read: Read
        /// Why it cannot be answered; nil if it can.
        var failure: ContentError?
        /// The chunks that are not in the backing file.
        var inMemory: [ChunkKey: Bytes]
    }

    private struct Waiting {
        var read: Read
        var missing: Int
        var failure: ContentError?
        var inMemory: [ChunkKey: Bytes] = [:]
    }

    private struct InFlight {
        var job: UInt64
        var waiters: [UInt64] = []
    }

    /// The most stored bytes that chunks are merged to.
    private let mergeLimit: UInt64
    /// When reads are to be given up, in order of arrival; those that are finished are passed over.
    private var deadlines: [(number: UInt64, time: UInt64)] = []
    private var firstDeadline = 0
    private var inFlight: [ChunkKey: InFlight] = [:]
    private var waiting: [UInt64: Waiting] = [:]
    /// Jobs that nobody has begun, by number.
    private var queued: [UInt64: FetchJob] = [:]
    /// Their numbers in order of arrival, one queue per priority; a number that is no longer
    /// queued with that priority is passed over.
    private var queues: [[UInt64]]
    private var heads: [Int]
    private var lastNumber: UInt64 = 0

    /// An empty table.
    ///
    /// - Parameter mergeLimit: the most stored bytes that one job asks for, unless a single chunk
    ///   has more.
    init(mergeLimit: UInt64) {
        self.mergeLimit = mergeLimit
        queues = FetchPriority.allCases.map { _ in [] }
        heads = FetchPriority.allCases.map { _ in 0 }
    }

    /// Whether nothing is queued, fetched or waited for.
    var isEmpty: Bool { inFlight.isEmpty && waiting.isEmpty && queued.isEmpty }

    /// Takes a read in that misses chunks.
    ///
    /// - Parameters:
    ///   - read: returned when all of them are finished.
    ///   - missing: the chunks; at least one, none twice.
    ///   - companions: chunks that nobody waits for and that are in no job, to be fetched with
    ///     them where they follow in the blob.
    ///   - priority: how soon they are wanted.
    ///   - deadline: when to give the read up; later than that of every earlier read.
    /// - Returns: how many jobs were queued by it.
    mutating func begin(
        _ read: Read,
        missing: [WantedChunk],
        with companions: [WantedChunk] = [],
        priority: FetchPriority,
        deadline: UInt64 = .max
    ) -> Int {
        lastNumber += 1
        let number = lastNumber
        waiting[number] = Waiting(read: read, missing: missing.count)
        remember(deadline, of: number)
        var new: [WantedChunk] = []
        for chunk in missing {
            if let job = inFlight[chunk.key]?.job {
                promote(job, to: priority)
            } else {
                new.append(chunk)
                inFlight[chunk.key] = InFlight(job: 0)
            }
            inFlight[chunk.key]?.waiters.append(number)
        }
        for chunk in companions { inFlight[chunk.key] = InFlight(job: 0) }
        let ranges = Self.ranges(of: new + companions, limit: mergeLimit)
        for range in ranges { queue(range, priority) }
        return ranges.count
    }

    /// Has chunks fetched that nobody waits for.
    ///
    /// - Parameters:
    ///   - chunks: chunks that are in no job, none twice.
    ///   - priority: how soon they are wanted.
    ///   - limit: the most stored bytes of one job, unless a single chunk has more.
    /// - Returns: how many jobs were queued by it.
    mutating func queue(
        ahead chunks: [WantedChunk],
        priority: FetchPriority,
        limit: UInt64
    ) -> Int {
        for chunk in chunks { inFlight[chunk.key] = InFlight(job: 0) }
        let ranges = Self.ranges(of: chunks, limit: min(limit, mergeLimit))
        for range in ranges { queue(range, priority) }
        return ranges.count
    }

    /// Whether the chunk is in a job.
    func isInFlight(_ key: ChunkKey) -> Bool { inFlight[key] != nil }

    /// How many jobs wait to be begun.
    var queuedCount: Int { queued.count }

    /// The chunks, those that reads wait for before the others; but what is decompressed together
    /// stays together.
    func inOrderOfNeed(_ chunks: [WantedChunk]) -> [WantedChunk] {
        var needed: [WantedChunk] = []
        var others: [WantedChunk] = []
        var rest = chunks[...]
        while let first = rest.first {
            let unit = rest.prefix { $0.offset == first.offset && $0.size == first.size }
            rest = rest.dropFirst(unit.count)
            let waitedFor = unit.filter { isWaitedFor($0.key) }
            if waitedFor.isEmpty {
                others += unit
            } else {
                needed += waitedFor + unit.filter { !isWaitedFor($0.key) }
            }
        }
        return needed + others
    }

    /// Whether a read waits for the chunk.
    func isWaitedFor(_ key: ChunkKey) -> Bool { inFlight[key]?.waiters.isEmpty == false }

    /// The next job to be done; it is the caller's from now on.
    ///
    /// - Parameter least: jobs that are less urgent are left where they are.
    /// - Returns: the job; nil if there is none.
    mutating func next(least: FetchPriority = .fill) -> FetchJob? {
        for priority in FetchPriority.allCases where priority <= least {
            while let number = popFirst(priority) {
                guard let job = queued[number], job.priority == priority else { continue }
                queued[number] = nil
                return job
            }
        }
        return nil
    }

    /// Takes back what became of a chunk.
    ///
    /// For `stored` the chunk's bit must be set already: a read that finds the chunk in no job
    /// looks at the bit, and would else fetch it again.
    ///
    /// - Returns: the reads that wait for nothing any more.
    mutating func finish(_ key: ChunkKey, _ outcome: Outcome) -> [Finished] {
        guard let chunk = inFlight.removeValue(forKey: key) else { return [] }
        var finished: [Finished] = []
        for number in chunk.waiters {
            guard var state = waiting[number] else { continue }
            state.missing -= 1
            switch outcome {
            case .stored: break
            case .inMemory(let bytes): state.inMemory[key] = bytes
            case .failed(let error): state.failure = state.failure ?? error
            }
            guard state.missing == 0 else {
                waiting[number] = state
                continue
            }
            waiting[number] = nil
            finished.append(
                Finished(read: state.read, failure: state.failure, inMemory: state.inMemory)
            )
        }
        return finished
    }

    /// Takes back a job of several chunks whose request failed.
    ///
    /// - Returns: how many jobs were queued instead of it.
    mutating func split(_ job: FetchJob) -> Int {
        var count = 0
        for chunk in job.chunks {
            if isWaitedFor(chunk.key) {
                queue([chunk], .demand)
                count += 1
            } else {
                inFlight[chunk.key] = nil
            }
        }
        return count
    }

    /// Gives up the reads whose deadline has come; what they wait for is fetched all the same.
    mutating func expire(at time: UInt64) -> [Read] {
        var expired: [Read] = []
        while firstDeadline < deadlines.count, deadlines[firstDeadline].time <= time {
            if let state = waiting.removeValue(forKey: deadlines[firstDeadline].number) {
                expired.append(state.read)
            }
            firstDeadline += 1
        }
        return expired
    }

    /// Whether a read waits.
    var hasWaiting: Bool { !waiting.isEmpty }

    private mutating func remember(_ deadline: UInt64, of number: UInt64) {
        // Most reads are finished long before their deadlines: what is kept of them stays in
        // proportion to those that are not.
        if deadlines.count >= 1024 + 4 * waiting.count {
            deadlines = deadlines[firstDeadline...].filter { waiting[$0.number] != nil }
            firstDeadline = 0
        }
        deadlines.append((number, deadline))
    }

    private mutating func queue(_ chunks: [WantedChunk], _ priority: FetchPriority) {
        lastNumber += 1
        for chunk in chunks { inFlight[chunk.key]?.job = lastNumber }
        queued[lastNumber] = FetchJob(id: lastNumber, priority: priority, chunks: chunks)
        queues[priority.rawValue].append(lastNumber)
    }

    /// Moves a job that nobody has begun to a more urgent queue.
    private mutating func promote(_ number: UInt64, to priority: FetchPriority) {
        guard let job = queued[number], priority < job.priority else { return }
        queued[number]?.priority = priority
        queues[priority.rawValue].append(number)
    }

    private mutating func popFirst(_ priority: FetchPriority) -> UInt64? {
        let queue = priority.rawValue
        guard heads[queue] < queues[queue].count else {
            queues[queue].removeAll(keepingCapacity: queues[queue].count < 1024)
            heads[queue] = 0
            return nil
        }
        let number = queues[queue][heads[queue]]
        heads[queue] += 1
        if heads[queue] >= 1024, heads[queue] * 2 > queues[queue].count {
            queues[queue].removeFirst(heads[queue])
            heads[queue] = 0
        }
        return number
    }

    /// Chunks grouped so that in each group stored bytes follow each other without a gap, overlap as
    /// those of spans do, or are the same: those of a batch.
    static func ranges(of chunks: [WantedChunk], limit: UInt64) -> [[WantedChunk]] {
        let ordered = chunks.sorted { left, right in
            (left.key.blob, left.offset) < (right.key.blob, right.offset)
        }
        var result: [[WantedChunk]] = []
        var end: UInt64 = 0
        for chunk in ordered {
            if let first = result.last?.first, first.key.blob == chunk.key.blob,
                chunk.offset <= end,
                max(end, chunk.end) - first.offset <= limit
                    || (chunk.offset == first.offset && chunk.end == end)
            {
                result[result.count - 1].append(chunk)
                end = max(end, chunk.end)
            } else {
                result.append([chunk])
                end = chunk.end
            }
        }
        return result
    }
}

extension FetchTable.Outcome: Sendable where Bytes: Sendable {}
extension FetchTable.Finished: Sendable where Read: Sendable, Bytes: Sendable {}
