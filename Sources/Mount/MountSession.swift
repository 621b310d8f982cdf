// SPDX-License-Identifier: Apache-2.0

import ChunkCache
package import Distribution
import FUSE
import Glibc
import Linux
package import Log

/// How an image is mounted.
package struct MountOptions: Sendable {
    /// Where chunks and bootstraps are kept; owned by the process while it runs.
    package var cacheDirectory: String
    /// Where the bits are kept that need not survive a reboot; nil for nowhere.
    package var runtimeDirectory: String?
    /// Whether the process stays in the foreground instead of becoming a daemon.
    package var isForeground = false
    /// How many threads serve the kernel.
    package var workers = 16
    /// How many requests to blob sources are made at once.
    package var fetchThreads = 8
    /// How far the kernel reads ahead, in KiB: every fault of a mapped file fetches that much.
    package var readAheadKilobytes = 256

    /// The usual way, with a cache in the directory.
    package init(cacheDirectory: String) {
        self.cacheDirectory = cacheDirectory
        runtimeDirectory = ChunkCache.defaultRuntimeDirectory
    }
}

/// A mounted image, from the mount to its end.
package struct MountSession: ~Copyable {
    private let point: MountPoint
    private let log: Logger
    private let cache: ChunkCache
    private let image: OpenImage
    private let session: FuseSession
    private let workers: FuseWorkers

    /// Mounts an image and serves it until it is unmounted.
    ///
    /// In the foreground this returns after the end of the mount. Otherwise the process forks (it
    /// must have one thread) and this returns twice: in the calling process as soon as the mount
    /// answers or could not be made, in the other after the end of the mount.
    ///
    /// SIGTERM, SIGINT and SIGHUP unmount. If the mount is in use, it goes out of sight and is
    /// served on until its last user ends; a second signal ends it at once. SIGUSR1 logs the
    /// statistics. `umount` from outside ends the process too.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - path: the directory; a mount of ours that a dead process left there is cleared.
    ///   - options: how.
    ///   - log: takes events. A daemon leaves standard error behind, unless it is a regular file.
    /// - Returns: the exit status: 0, or that of the process in the background, which has then said
    ///   on standard error what went wrong.
    /// - Throws: `SystemError` (EBUSY or EWOULDBLOCK where another process has the mount point or
    ///   the cache), `ContentError` for what is wrong with the image.
    package static func run(
        _ source: any ImageSource,
        at path: String,
        options: MountOptions,
        log: Logger
    ) throws -> Int32 {
        let point = try MountPoint(path)
        var options = options
        try FileSystem.makeDirectories(options.cacheDirectory, mode: 0o700)
        // A daemon leaves the working directory.
        options.cacheDirectory = try FileSystem.canonicalPath(options.cacheDirectory)
        if options.isForeground {
            try serve(source, point, options, log)
            return 0
        }
        switch try Daemon.fork() {
        case .starter(let reader):
            return try reader.exitStatus()
        case .background(let pipe):
            try serve(source, point, options, log, pipe)
            return 0
        }
    }

    private static func serve(
        _ source: any ImageSource,
        _ point: MountPoint,
        _ options: MountOptions,
        _ log: Logger,
        _ pipe: consuming ReadinessPipe? = nil
    ) throws {
        // Before the first thread: threads inherit what is blocked.
        let signals = try SignalDescriptor([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        let session = try MountSession(source, at: point, options, log)
        if let pipe {
            let isFile = try? FileStatus(path: "/proc/self/fd/2").mode & 0o170_000 == 0o100_000
            try pipe.ready(keepingError: isFile == true)
        }
        try session.serveUntilEnd(signals)
    }

    private init(
        _ source: any ImageSource,
        at point: MountPoint,
        _ options: MountOptions,
        _ log: Logger
    ) throws {
        try? ResourceLimits.raiseOpenFiles()
        let cache = try ChunkCache(
            directory: options.cacheDirectory,
            runtimeDirectory: options.runtimeDirectory,
            fetchThreads: options.fetchThreads,
            log: log
        )
        let image = try OpenImage(source, cache, cacheDirectory: options.cacheDirectory)
        let filesystem = try ImageFilesystem(image, cache, log)
        let workers = try FuseWorkers(count: options.workers)
        let session = try Self.attach(filesystem, point, image.name, options, log)
        do {
            try workers.serve(session)
            try point.awaitAnswer()
        } catch {
            try? unmountFileSystem(at: point.path, lazily: true)
            throw error
        }
        do throws(SystemError) {
            try point.setReadAhead(kilobytes: options.readAheadKilobytes)
        } catch {
            log.warning("read-ahead not set", ["cause": error])
        }
        log.info(
            "mounted",
            ["image": image.name, "path": point.path, "cache": options.cacheDirectory]
        )
        self.point = point
        self.log = log
        self.cache = cache
        self.image = image
        self.session = session
        self.workers = workers
    }

    /// Mounts, once what a dead process left is away; nothing answers yet.
    private static func attach(
        _ filesystem: ImageFilesystem,
        _ point: MountPoint,
        _ name: String,
        _ options: MountOptions,
        _ log: Logger
    ) throws(SystemError) -> FuseSession {
        let turn = MountTurn(in: options.runtimeDirectory, log)
        let stale = try point.clearStale()
        if stale > 0 { log.warning("stale mount cleared", ["path": point.path, "mounts": stale]) }
        let session = try FuseSession(filesystem, mountedAt: point.path, source: name)
        turn.end()
        return session
    }

    /// Waits for the end, and does what signals say.
    private consuming func serveUntilEnd(_ signals: borrowing SignalDescriptor) throws {
        var isEnding = false
        while try waitForInput(on: [session.endDescriptor, signals.number]) == 1 {
            let signal = try signals.next()
            if signal == SIGUSR1 {
                logStatistics()
            } else if isEnding {
                log.warning("ended while in use", ["path": point.path])
                cache.abandon()
                logStatistics()
                return
            } else {
                isEnding = true
                unmount()
            }
        }
        cache.close()
        logStatistics()
        workers.stop()
        log.info("unmounted", ["path": point.path])
    }

    private func unmount() {
        do throws(SystemError) {
            if try !point.unmount() {
                log.warning("in use, detached: served until its last user ends")
            }
        } catch {
            // Somebody has detached it already; the kernel says when it ends.
            log.warning("not unmounted", ["cause": error])
        }
    }

    private func logStatistics() {
        let statistics = cache.statistics
        log.info(
            "statistics",
            [
                "reads": statistics.reads,
                "fetches": statistics.fetches,
                "fetched-bytes": statistics.fetchedBytes,
                "image-bytes": image.storedBytes,
                "hits": statistics.hits,
                "failures": statistics.failures,
            ]
        )
    }
}
