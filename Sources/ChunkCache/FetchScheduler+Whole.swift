// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Log

/// Blobs of which no ranges are to be had: they pass whole, once, and all that passes is kept.
///
/// 1. A blob passes once at a time, in a thread of its own: the others go on with other blobs.
/// 2. Chunks that jobs want of it meanwhile stay in the table. Those that are still to come are
///    finished as they come by; for those that have gone by, and are not here all the same, it
///    passes once more.
/// 3. It passes to its end though nobody waits any more, unless it is closed: whatever is wanted of
///    it later would be asked for from its first byte again.
extension FetchScheduler {
    /// Has a blob pass, unless it does already.
    ///
    /// - Parameters:
    ///   - blob: the blob.
    ///   - job: wants chunks of it.
    func passWhole(_ blob: CachedBlob, for job: FetchJob) {
        let isFirst = state.update { state in
            let isFirst = state.passing[blob.number] == nil
            state.passing[blob.number, default: []] += job.chunks
            return isFirst
        }
        guard isFirst else { return }
        log.warning("no ranges are to be had, the blob is fetched whole", ["blob": blob.digest])
        do {
            try threads.start(name: "whole") { self.pass(blob) }
        } catch {
            // Without a further thread this one does it.
            pass(blob)
        }
    }

    private func pass(_ blob: CachedBlob) {
        var failure: ContentError?
        do {
            let desk = try Desk()
            while try !pass(blob, desk) {}
        } catch {
            failure = error as? ContentError ?? ContentError(.inputOutput, "\(error)")
        }
        let wanted = state.update { $0.passing.removeValue(forKey: blob.number) ?? [] }
        guard let failure else {
            return askAgain(FetchJob(id: 0, priority: .demand, chunks: wanted))
        }
        if let first = wanted.first, state.update({ $0.blobs[blob.number] != nil }) {
            logFailure(blob, first.offset, Int(first.size), failure)
        }
        for chunk in wanted { finish(chunk.key, .failed(failure), nil) }
    }

    /// Lets the blob pass once.
    ///
    /// - Returns: false if it is to be asked for elsewhere: what came was wrong.
    private func pass(_ blob: CachedBlob, _ desk: Desk) throws(ContentError) -> Bool {
        let whole = try blob.source.openWhole()
        counters.countFetch(bytes: 0)
        desk.fetcher.rewind()
        for chunk in blob.chunksAsStored() {
            guard state.update({ !$0.isClosed && $0.blobs[blob.number] != nil }) else {
                throw Self.closed
            }
            if blob.backing.contains(Int(chunk.key.index)) {
                finish(chunk.key, .stored, desk)
                continue
            }
            let start = try desk.fetcher.pass(to: chunk.offset, chunk.end, of: whole)
            counters.countPassed(bytes: Int(chunk.size))
            let outcome = store(chunk, of: blob, from: start, desk)
            if settle(chunk, of: blob, outcome, whole.servers, desk) { return false }
        }
        return true
    }
}
