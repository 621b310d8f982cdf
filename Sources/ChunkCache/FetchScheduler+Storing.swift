// SPDX-License-Identifier: Apache-2.0

import Content
import Linux

/// From stored bytes to chunks in a backing file.
extension FetchScheduler {
    /// Verifies a chunk that was fetched and stores it.
    ///
    /// - Parameters:
    ///   - wanted: the chunk.
    ///   - blob: its blob.
    ///   - start: where the bytes begin in the blob that the desk's fetcher has.
    ///   - desk: the thread's own.
    /// - Returns: what became of it.
    func store(
        _ wanted: WantedChunk,
        of blob: CachedBlob,
        from start: UInt64,
        _ desk: Desk
    ) -> Table.Outcome {
        var outcome = Table.Outcome.stored
        do throws(ContentError) {
            let index = Int(wanted.key.index)
            let chunk = try blob.checkedChunk(at: index)
            try desk.fetcher.withContent(of: chunk, blob.coding, blob.table, inRangeFrom: start) {
                bytes in
                do throws(SystemError) {
                    try blob.backing.store(bytes, chunk: index, at: chunk.uncompressedOffset)
                    onStored(bytes.byteCount)
                } catch {
                    noteRefusal(blob, error)
                    outcome = unsafe .inMemory(bytes.withUnsafeBytes { unsafe Array($0) })
                }
            }
        } catch {
            outcome = .failed(error)
        }
        return outcome
    }

    /// Stores what was decompressed together with chunks that were wanted, and is here for nothing.
    ///
    /// A companion that another job has fetched meanwhile is stored twice, with the same bytes; one
    /// that is damaged is passed over: whoever wants it is told.
    func storeCompanions(_ job: FetchJob, of blob: CachedBlob, _ desk: Desk) {
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
                    blob.table,
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
}
