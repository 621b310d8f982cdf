// SPDX-License-Identifier: Apache-2.0

package import ChunkCache
package import Distribution
import FUSE
import Glibc
package import Linux
package import Log

/// How an image is mounted.
package struct MountOptions: Sendable {
    /// Where chunks and bootstraps are kept; owned by the process while it runs.
    package var cacheDirectory: String
    /// Where the bits are kept that need not survive a reboot; nil for nowhere.
    package var runtimeDirectory: String?
    /// What cannot be done through the mount, beside writing.
    package var restrictions: MountRestrictions = []
    /// Whether an image without any extended attribute says that it supports none: the kernel then
    /// asks no more, and a search through an overlay takes a third of the time.
    ///
    /// Not below containers: containerd compares the capabilities of a container's files with the
    /// image's, and takes that answer for an error, so that nothing could be committed.
    package var refusesAbsentXattrs = true
    /// Whether the process stays in the foreground instead of becoming a daemon.
    package var isForeground = false
    /// How many threads serve the kernel.
    package var workers = 16
    /// How much is fetched at once, and how long a read waits.
    package var limits = FetchLimits()
    /// How far the kernel reads ahead, in KiB: every fault of a mapped file fetches that much.
    ///
    /// With twice as much, 2,000 faults of a file on storage took 0.62 instead of 0.41 s; sequential
    /// readers gain nothing, since the cache reads ahead on its storage for them.
    package var readAheadKilobytes = 128

    /// The usual way, with a cache in the directory.
    package init(cacheDirectory: String) {
        self.cacheDirectory = cacheDirectory
        runtimeDirectory = ChunkCache.defaultRuntimeDirectory
    }
}

/// A process that has one image mounted, from the mount to its end.
package struct MountSession: ~Copyable {
    private let engine: MountEngine
    private let mounted: MountedImage
    private let log: Logger

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
        let engine = try MountEngine(options, log)
        mounted = try engine.mount(source, at: point)
        self.engine = engine
        self.log = log
    }

    /// Waits for the end, and does what signals say.
    private consuming func serveUntilEnd(_ signals: borrowing SignalDescriptor) throws {
        var isEnding = false
        while try waitForInput(on: [mounted.endDescriptor, signals.number]) == 1 {
            let signal = try signals.next()
            if signal == SIGUSR1 {
                logStatistics()
            } else if isEnding {
                log.warning("ended while in use", ["path": mounted.point.path])
                engine.abandon()
                logStatistics()
                return
            } else {
                isEnding = true
                mounted.unmount()
            }
        }
        try mounted.close()
        engine.close()
        logStatistics()
    }

    private func logStatistics() {
        let statistics = engine.cache.statistics
        log.info(
            "statistics",
            [
                "reads": statistics.reads,
                "fetches": statistics.fetches,
                "fetched-bytes": statistics.fetchedBytes,
                "image-bytes": mounted.storedBytes,
                "hits": statistics.hits,
                "failures": statistics.failures,
            ]
        )
    }
}
