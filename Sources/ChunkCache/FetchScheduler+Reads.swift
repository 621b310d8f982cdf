// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Log

/// What a read that misses sets going.
extension FetchScheduler {
    /// The most stored bytes of a request that no read waits for.
    ///
    /// A read that needs one of its chunks waits for what is under way before it. Two such requests
    /// fill a link of 1 Gbit/s with 15 ms.
    fileprivate static let aheadLimit: UInt64 = 1 << 20
    /// More than so many requests are not queued for the neighbourhood of misses.
    fileprivate static let queueLimit = 64
    /// For so long after a backing file refused a write nothing is fetched ahead for it.
    fileprivate static let refusalNanoseconds: UInt64 = 60_000_000_000

    /// Takes a read in.
    ///
    /// Its waiter is answered from another thread, or at once by this one if nothing is missing any
    /// more or nothing can be done.
    func begin(_ read: PendingRead) {
        enum Action {
            case answer
            case wait(jobs: Int, wakesWatch: Bool)
            case fail(ContentError)
            case failAgain(ContentError)
        }
        guard read.byteCount <= Self.largestRead else {
            return read.waiter.fail(
                ContentError(.limitExceeded, "a read of \(read.byteCount) bytes")
            )
        }
        let now = CurrentProcess.monotonicNanoseconds
        let action: Action = state.update { state in
            guard !state.isClosed else { return .fail(Self.closed) }
            // Under the lock: a chunk's bit is set before it leaves the table, so that one of the
            // two shows it.
            do throws(ContentError) {
                let missing = try read.missingChunks()
                if missing.isEmpty { return .answer }
                if let error = state.failures.error(of: missing.lazy.map(\.key), at: now) {
                    return .failAgain(error)
                }
                let jobs = state.queue(read, missing, limits, deadlines.next())
                let wakesWatch = !state.isWatching
                state.isWatching = true
                return .wait(jobs: jobs, wakesWatch: wakesWatch)
            } catch {
                return .fail(error)
            }
        }
        switch action {
        case .wait(let jobs, let wakesWatch):
            for _ in 0..<jobs { work.signal() }
            if wakesWatch { deadlines.wake() }
        case .answer:
            answerHere(read)
        case .fail(let error):
            log.error("read failed", ["cause": error])
            read.waiter.fail(error)
        case .failAgain(let error):
            read.waiter.fail(error)
        }
    }

    /// A read has come to a chunk where a sequential reader is awaited.
    func advance(_ blob: CachedBlob, at chunk: Int) {
        let jobs = state.update { state -> Int in
            guard !state.isClosed, state.blobs[blob.number] != nil else { return 0 }
            let limit = limits.readAhead.sequentialBytes
            guard let window = state.readers[blob.number]?.reached(chunk, limit: limit) else {
                blob.marks.set(state.readers[blob.number]?.marks ?? [])
                return 0
            }
            return state.queue(window, of: blob)
        }
        for _ in 0..<jobs { work.signal() }
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

    /// Fails reads whose time is over, until the end.
    func watchDeadlines() {
        while deadlines.waitForWork() {
            while deadlines.tick() {
                let now = CurrentProcess.monotonicNanoseconds
                let (expired, isWatching) = state.update { state in
                    let expired = state.table.expire(at: now)
                    state.isWatching = state.table.hasWaiting
                    return (expired, state.isWatching)
                }
                for read in expired { giveUp(read) }
                if !isWatching { break }
            }
        }
    }

    private func giveUp(_ read: PendingRead) {
        let error = ContentError(.inputOutput, "the read's deadline has passed")
        log.error(
            "read given up",
            [
                "blob": read.slices.first?.blob.digest ?? .zero,
                "chunk": read.slices.first?.chunk ?? 0,
                "bytes": read.byteCount,
                "waited-ms": limits.deadlineMilliseconds ?? 0,
                "cause": error,
                "source": read.slices.first?.blob.source.place ?? "",
            ]
        )
        let now = CurrentProcess.monotonicNanoseconds
        state.update { state in
            for chunk in (try? read.missingChunks()) ?? [] {
                state.failures.note(chunk.key, error, at: now)
            }
        }
        read.waiter.fail(error)
    }
}

extension FetchScheduler.State {
    /// Queues what a read misses, and what is to be fetched ahead because of it.
    ///
    /// - Returns: how many jobs were queued.
    fileprivate mutating func queue(
        _ read: PendingRead,
        _ missing: [WantedChunk],
        _ limits: FetchLimits,
        _ deadline: UInt64
    ) -> Int {
        // Looked ahead only in the blob of the last chunk: there the reader is.
        let mates = unitMates(of: missing)
        guard let last = missing.last, let blob = blobs[last.key.blob],
            limits.readAhead.requestBytes > 0, !isRefusing(blob)
        else {
            return table.begin(
                read,
                missing: missing,
                with: mates,
                priority: .demand,
                deadline: deadline
            )
        }
        let companions =
            mates.isEmpty ? companions(of: missing, last, blob, limits.readAhead) : mates
        var count = table.begin(
            read,
            missing: missing,
            with: companions,
            priority: .demand,
            deadline: deadline
        )
        let behind = companions.lazy.filter { $0.key.blob == blob.number }.map(\.key.index).max()
        let next = Int(max(behind ?? 0, last.key.index)) + 1
        if let window = readers[blob.number, default: SequentialReaders()].missed(
            indexes(of: read, in: blob),
            next: next,
            last: read.lastChunk ?? -1,
            limit: limits.readAhead.sequentialBytes
        ) {
            count += queue(window, of: blob)
        } else {
            blob.marks.set(readers[blob.number]?.marks ?? [])
            count += queueNeighbours(of: Int(last.key.index), next - 1, blob, limits.readAhead)
        }
        return count
    }

    /// Queues a sequential reader's next window.
    ///
    /// - Returns: how many jobs were queued.
    fileprivate mutating func queue(
        _ window: SequentialReaders.Window,
        of blob: CachedBlob
    ) -> Int {
        let (chunks, next) = blob.chunks(of: window) { isFree($0, blob) }
        readers[blob.number]?.asked(window, next: next)
        blob.marks.set(readers[blob.number]?.marks ?? [])
        return table.queue(
            ahead: chunks + unitMates(of: chunks),
            priority: .ahead,
            limit: FetchScheduler.aheadLimit
        )
    }

    /// Queues what lies around a miss, for when nothing else is wanted.
    private mutating func queueNeighbours(
        of first: Int,
        _ last: Int,
        _ blob: CachedBlob,
        _ readAhead: ReadAhead
    ) -> Int {
        guard readAhead.backgroundBytes > 0, table.queuedCount < FetchScheduler.queueLimit else {
            return 0
        }
        let after = readAhead.backgroundBytes
        let before = after / 4
        let chunks =
            blob.neighbours(of: last, step: 1, limit: after) { isFree($0, blob) }
            + blob.neighbours(of: first, step: -1, limit: before) { isFree($0, blob) }
        return table.queue(
            ahead: chunks + unitMates(of: chunks),
            priority: .neighbour,
            limit: FetchScheduler.aheadLimit
        )
    }

    /// What is decompressed together with chunks, and neither here nor on its way: it comes with
    /// them for nothing, and would else be fetched a second time with all the others.
    private func unitMates(of chunks: [WantedChunk]) -> [WantedChunk] {
        var mates: [WantedChunk] = []
        var taken = Set(chunks.map(\.key))
        var last: Chunk?
        for wanted in chunks {
            let index = Int(wanted.key.index)
            guard let blob = blobs[wanted.key.blob], let chunk = try? blob.checkedChunk(at: index),
                chunk.batch != nil, last?.sharesUnit(with: chunk) != true
            else { continue }
            last = chunk
            for mate in blob.companions(of: index, chunk) where mate.chunk.digest != .zero {
                var other = wanted
                other.key.index = UInt32(mate.index)
                if isFree(other.key, blob), taken.insert(other.key).inserted {
                    mates.append(other)
                }
            }
        }
        return mates
    }

    /// What is fetched with the chunks a read misses, by the same request.
    private func companions(
        of missing: [WantedChunk],
        _ last: WantedChunk,
        _ blob: CachedBlob,
        _ readAhead: ReadAhead
    ) -> [WantedChunk] {
        let missed = missing.reduce(0) { $0 + UInt64($1.size) }
        guard missed < readAhead.requestBytes, !table.isInFlight(last.key) else { return [] }
        return blob.followers(of: last, limit: readAhead.requestBytes - missed) {
            isFree($0, blob)
        }
    }

    /// Whether a chunk of a blob is neither here nor on its way.
    ///
    /// For closures that do not escape: one that does would hold a copy of the table, and the next
    /// change would have to copy all of it.
    private func isFree(_ key: ChunkKey, _ blob: CachedBlob) -> Bool {
        !blob.backing.contains(Int(key.index)) && !table.isInFlight(key)
    }

    /// The chunks of a blob that a read needs, from the first to the last.
    private func indexes(of read: PendingRead, in blob: CachedBlob) -> ClosedRange<Int> {
        let indexes = read.slices.lazy.filter { $0.blob === blob }.map(\.chunk)
        let first = indexes.min() ?? 0
        return first...max(indexes.max() ?? first, first)
    }

    private func isRefusing(_ blob: CachedBlob) -> Bool {
        guard let time = refusals[blob.number] else { return false }
        return CurrentProcess.monotonicNanoseconds &- time < FetchScheduler.refusalNanoseconds
    }
}
