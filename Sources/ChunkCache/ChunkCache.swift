// SPDX-License-Identifier: Apache-2.0
//
// ChunkCache: verified chunks on disk, and the one scheduler that fetches them.

package import Content
import Glibc
package import Linux
package import Log

/// A cache directory, owned by this process.
///
/// 1. One process at a time owns a directory: what is fetched, and when it is dropped, is decided
///    in one place.
/// 2. A blob's bytes are kept under its digest and the digest of the chunk records in force: an
///    image that gives other records for the same blob gets a cache of its own.
/// 3. No byte leaves that did not have the digest of its chunk's record when it was stored.
///
/// Layout: `lock`, and for every blob `blobs/<blob>-<key>/data` (chunks) and `bits` (the durable
/// bitmap). The runtime bitmaps are in a directory of their own: see `BackingFile`.
package final class ChunkCache: Sendable {
    private struct BlobKey: Hashable {
        var digest: Digest
        var key: Digest
    }

    private struct OpenBlob {
        var blob: CachedBlob
        var users: Int
    }

    private struct Blobs {
        var byKey: [BlobKey: OpenBlob] = [:]
        var lastNumber: UInt32 = 0
        var isClosed = false
    }

    private let directory: String
    private let runtimeDirectory: String?
    private let lock: OwnerLock
    private let log: Logger
    private let counters = CacheCounters()
    private let blobs: BlobList
    private let scheduler: FetchScheduler
    private let flusher: Flusher
    private let pool: DescriptorPool
    private let reader: StorageReader
    private let zeros = ZeroDigests()

    /// The open blobs, apart from the cache so that the flusher's thread does not keep it alive.
    private final class BlobList: Sendable {
        let blobs = Monitor(Blobs())

        func flush(_ log: Logger) {
            for open in blobs.update({ Array($0.byKey.values) }) {
                do throws(SystemError) {
                    try open.blob.backing.flush()
                } catch {
                    log.error("cache is not durable", ["blob": open.blob.digest, "cause": error])
                }
            }
        }

        func close(_ blob: CachedBlob, _ log: Logger) {
            do throws(SystemError) {
                try blob.backing.close()
            } catch {
                log.error("cache is not durable", ["blob": blob.digest, "cause": error])
            }
        }
    }

    /// Opens a cache directory, which is made if it is missing.
    ///
    /// - Parameters:
    ///   - directory: where the chunks are kept.
    ///   - runtimeDirectory: where the bits are kept that need not survive a reboot; nil for
    ///     nowhere: then a process that is killed leaves only what was made durable.
    ///   - limits: how much is done at once, and how long a read waits.
    ///   - openFiles: how many backing files are kept open at most.
    ///   - log: takes the true causes of reads that fail.
    /// - Throws: `SystemError`: EWOULDBLOCK if another process owns the directory; `ContentError`
    ///   if there is no memory.
    package init(
        directory: String,
        runtimeDirectory: String?,
        limits: FetchLimits = FetchLimits(),
        openFiles: Int = 256,
        log: Logger
    ) throws {
        try FileSystem.makeDirectories(directory, mode: 0o700)
        lock = try OwnerLock(directory)
        self.directory = directory
        self.runtimeDirectory = Self.runtimeDirectory(of: directory, in: runtimeDirectory, log)
        self.log = log
        pool = DescriptorPool(limit: openFiles)
        let blobs = BlobList()
        let flusher = try Flusher { blobs.flush(log) }
        self.blobs = blobs
        self.flusher = flusher
        do {
            reader = try StorageReader()
        } catch {
            flusher.close()
            throw error
        }
        do {
            scheduler = try FetchScheduler(
                limits,
                counters: counters,
                log: log,
                onStored: { flusher.add($0) }
            )
        } catch {
            reader.close()
            flusher.close()
            throw error
        }
    }

    deinit {
        close()
    }

    /// Where runtime bits are kept by default: /run/lazypull for root, the user's own otherwise.
    package static var defaultRuntimeDirectory: String? {
        if geteuid() == 0 { return "/run/lazypull" }
        guard let base = unsafe getenv("XDG_RUNTIME_DIR") else { return nil }
        return unsafe String(cString: base) + "/lazypull"
    }

    /// A directory for this cache's runtime bits: two caches may hold the same blob.
    private static func runtimeDirectory(
        of directory: String,
        in base: String?,
        _ log: Logger
    ) -> String? {
        guard let base else { return nil }
        do throws(SystemError) {
            let status = try FileStatus(path: directory)
            let device = String(status.device, radix: 16)
            let path = "\(base)/\(device)-\(String(status.inode, radix: 16))"
            try FileSystem.makeDirectories(path, mode: 0o700)
            return path
        } catch {
            log.warning("no runtime bits", ["cause": error])
            return nil
        }
    }

    /// Opens a blob's cache, or gives the one that is open.
    ///
    /// - Parameters:
    ///   - digest: the blob's digest.
    ///   - key: the digest of the chunk records in force.
    ///   - table: these records.
    ///   - coding: how the chunks are stored and named; the key must tell codings apart.
    ///   - source: where the blob is fetched from.
    ///   - viewSize: the size of the blob's uncompressed view, in bytes; at most 2^44.
    /// - Returns: the blob's cache, to read from.
    /// - Throws: `ContentError` if chunks overlap or the view is too large, `SystemError` if the
    ///   directory does not take the files.
    package func open(
        _ digest: Digest,
        key: Digest,
        table: any ChunkTable,
        coding: ChunkCoding,
        source: any BlobSource,
        viewSize: UInt64
    ) throws -> CachedBlob {
        guard viewSize <= 1 << 44, table.count <= 1 << 24 else {
            throw ContentError(.limitExceeded, "blob \(digest): \(viewSize) bytes uncompressed")
        }
        let blobKey = BlobKey(digest: digest, key: key)
        return try blobs.blobs.update { blobs in
            if let open = blobs.byKey[blobKey] {
                blobs.byKey[blobKey]?.users += 1
                return open.blob
            }
            let backing = try openBacking(digest, key, table.count, viewSize)
            blobs.lastNumber += 1
            let blob = CachedBlob(
                digest,
                key: key,
                number: blobs.lastNumber,
                table: table,
                coding: coding,
                source: source,
                backing: backing,
                viewSize: viewSize,
                zeros: zeros,
                onMark: { [scheduler] blob, chunk in scheduler.advance(blob, at: chunk) }
            )
            try blob.checkDisjoint()
            blobs.byKey[blobKey] = OpenBlob(blob: blob, users: 1)
            scheduler.add(blob)
            return blob
        }
    }

    private func openBacking(
        _ digest: Digest,
        _ key: Digest,
        _ chunkCount: Int,
        _ viewSize: UInt64
    ) throws(SystemError) -> BackingFile {
        try BackingFile.open(
            backingPaths("\(digest.hex)-\(key.hex)"),
            blob: digest,
            key: key,
            chunkCount: chunkCount,
            viewSize: viewSize,
            pool: pool,
            reader: reader
        )
    }

    /// Ends one use of a blob; with the last, its cache is made durable and closed.
    ///
    /// - Parameter blob: from `open`, which is called as often as this; not read from any more.
    package func close(_ blob: CachedBlob) {
        let key = BlobKey(digest: blob.digest, key: blob.key)
        // Most of the work before the lock; a failure will show again.
        try? blob.backing.flush()
        let isLast = blobs.blobs.update { blobs in
            guard let open = blobs.byKey[key], open.blob === blob else { return false }
            blobs.byKey[key]?.users -= 1
            guard open.users == 1 else { return false }
            // Under the lock, so that whoever opens the blob again finds its files complete.
            scheduler.remove(blob)
            self.blobs.close(blob, log)
            blobs.byKey[key] = nil
            return true
        }
        if isLast { log.debug("blob closed", ["blob": blob.digest]) }
    }

    /// Frees what is kept of blobs that nobody needs any more, whatever their chunk records; those
    /// that are open stay.
    ///
    /// - Parameter needed: the blobs that stay.
    /// - Returns: how many caches of blobs were removed.
    /// - Throws: `SystemError` if one cannot be removed.
    package func removeBlobs(except needed: Set<Digest>) throws(SystemError) -> Int {
        let place = "\(directory)/blobs"
        let names: [String]
        do throws(SystemError) {
            names = try FileSystem.names(inDirectory: place)
        } catch {
            guard error.code == ENOENT else { throw error }
            return 0
        }
        var count = 0
        for name in names {
            let parts = name.split(separator: "-").compactMap { Digest(hex: String($0)) }
            guard parts.count == 2, !needed.contains(parts[0]) else { continue }
            let key = BlobKey(digest: parts[0], key: parts[1])
            // Under the lock, so that whoever opens the blob finds all of it or nothing.
            count += try blobs.blobs.update { (blobs) throws(SystemError) -> Int in
                guard blobs.byKey[key] == nil else { return 0 }
                let paths = backingPaths(name)
                // The bits first: bits never say of what is gone that it is here.
                if let runtime = paths.runtimeBits { try FileSystem.removeFile(runtime) }
                try FileSystem.removeFile(paths.durableBits)
                try FileSystem.removeFile(paths.data)
                try FileSystem.removeDirectory(paths.directory)
                return 1
            }
        }
        return count
    }

    private func backingPaths(_ name: String) -> BackingPaths {
        BackingPaths(
            directory: "\(directory)/blobs/\(name)",
            runtimeBits: runtimeDirectory.map { "\($0)/\(name)" }
        )
    }

    /// Counts a read that was answered from what is here.
    package func countHit() {
        counters.countRead(isHit: true)
    }

    /// Fetches what a read misses, and answers it from a fetching thread.
    ///
    /// Chunks that another read has asked for are waited for, not fetched again; those that their
    /// records show to be all zeros are not fetched at all. If one cannot be
    /// had or is corrupt, the read fails; the next one tries again.
    ///
    /// - Parameters:
    ///   - slices: the parts of chunks that the read needs; what they leave out reads as zeros.
    ///   - byteCount: the length of the answer: at most 1 MiB.
    ///   - lastChunk: the index up to which the chunks of its blob, from the last slice's on, are the
    ///     file's: as far as a sequential reader's are fetched ahead; nil for nothing ahead.
    ///   - waiter: gets the bytes or the error, exactly once.
    package func fetch(
        _ slices: [CachedSlice],
        byteCount: Int,
        lastChunk: Int? = nil,
        for waiter: any ReadWaiter
    ) {
        counters.countRead(isHit: false)
        // Here and not by the scheduler: a digest may have to be computed.
        for slice in slices { slice.blob.fillIfZero(chunk: slice.chunk) }
        scheduler.begin(
            PendingRead(slices, byteCount: byteCount, waiter: waiter, lastChunk: lastChunk)
        )
    }

    /// How many backing files are open at the moment.
    package var openFileCount: Int { pool.openCount }

    /// What has been done so far.
    package var statistics: CacheStatistics { counters.statistics }

    /// Makes everything that is here durable.
    package func flush() {
        blobs.flush(log)
    }

    /// Ends the threads and makes everything durable; reads that wait fail.
    ///
    /// Once more does nothing.
    package func close() {
        guard markClosed() else { return }
        scheduler.close()
        reader.close()
        flusher.close()
        for open in blobs.blobs.update({ Array($0.byKey.values) }) {
            blobs.close(open.blob, log)
        }
    }

    /// Ends without waiting, for a process that exits now: what is being fetched is lost, and what
    /// is not durable is found again by the runtime bits only.
    package func abandon() {
        guard markClosed() else { return }
        scheduler.refuseReads()
    }

    /// Whether this call is the first to end the cache.
    private func markClosed() -> Bool {
        blobs.blobs.update { blobs in
            defer { blobs.isClosed = true }
            return !blobs.isClosed
        }
    }
}
