// SPDX-License-Identifier: Apache-2.0

import ChunkCache
package import Content
package import Distribution
package import FUSE
import Glibc
package import Linux
package import Log

/// What all mounts of a process share: one cache, one scheduler that fills it, one pool of workers.
///
/// A mount costs a descriptor, a mapped bootstrap and its blobs' bitmaps; no thread.
package final class MountEngine: Sendable {
    let cache: ChunkCache
    private let workers: FuseWorkers
    private let options: MountOptions
    private let log: Logger

    /// An engine without mounts, which owns its cache directory.
    ///
    /// - Parameters:
    ///   - options: how; the directory exists.
    ///   - log: takes events.
    /// - Throws: `SystemError`: EWOULDBLOCK where another process has the cache; `ContentError` if
    ///   there is no memory.
    package init(_ options: MountOptions, _ log: Logger) throws {
        try? ResourceLimits.raiseOpenFiles()
        var options = options
        options.limits.deadlineMilliseconds = RequestTimeout.clamped(
            options.limits.deadlineMilliseconds
        )
        // Half of what there may be: sessions, bitmaps on their way and sources need the rest.
        let openFiles = max(((try? ResourceLimits.openFiles()) ?? 1024) / 2, 64)
        cache = try ChunkCache(
            directory: options.cacheDirectory,
            runtimeDirectory: options.runtimeDirectory,
            limits: options.limits,
            openFiles: openFiles,
            log: log
        )
        workers = try FuseWorkers(count: options.workers)
        self.options = options
        self.log = log
    }

    /// Mounts an image, and returns once the mount answers.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - point: the directory; a mount of ours that a dead process left there is cleared.
    /// - Returns: the mount, which is served until it is unmounted and its last user has ended.
    /// - Throws: `SystemError` (EBUSY where another process has the mount point), `ContentError`
    ///   for what is wrong with the image.
    package func mount(
        _ source: any ImageSource,
        at point: MountPoint
    ) throws -> MountedImage {
        let image = try OpenImage(source, cache, cacheDirectory: options.cacheDirectory)
        do {
            let session = try attach(filesystem(of: image), point, image.name)
            do {
                try workers.serve(session)
                try point.awaitAnswer()
            } catch {
                try? point.detach()
                throw error
            }
            setReadAhead(point)
            log.info(
                "mounted",
                ["image": image.name, "path": point.path, "cache": options.cacheDirectory]
            )
            return MountedImage(image, point, session, cache, log)
        } catch {
            image.close(cache)
            throw error
        }
    }

    /// Serves a mount that another process has served until it died or ended.
    ///
    /// What that process received and did not answer is answered now; before Linux 6.9 it never is.
    ///
    /// - Parameters:
    ///   - source: the image that was mounted.
    ///   - point: where; it may be out of sight.
    ///   - device: the mount's descriptor of /dev/fuse.
    ///   - initRequest: `MountedImage.keptInitRequest` of that process.
    /// - Returns: the mount.
    /// - Throws: `SystemError`, `ContentError` for what is wrong with the image.
    package func takeOver(
        _ source: any ImageSource,
        at point: MountPoint,
        device: consuming OwnedDescriptor,
        initRequest: [UInt8]
    ) throws -> MountedImage {
        let image = try OpenImage(source, cache, cacheDirectory: options.cacheDirectory)
        do {
            let session = try FuseSession(
                filesystem(of: image),
                takingOver: device,
                initRequest: initRequest
            )
            do throws(SystemError) {
                try session.resendRequests()
            } catch {
                // EPERM: it has ended, which whoever serves it sees.
                if error.code == EINVAL {
                    log.warning("reads that were going on are lost", ["cause": error])
                }
            }
            try workers.serve(session)
            return MountedImage(image, point, session, cache, log)
        } catch {
            image.close(cache)
            throw error
        }
    }

    private func filesystem(of image: OpenImage) throws(ContentError) -> ImageFilesystem {
        try ImageFilesystem(
            image,
            cache,
            refusesAbsentXattrs: options.refusesAbsentXattrs,
            log
        )
    }

    /// Mounts, once what a dead process left is away; nothing answers yet.
    private func attach(
        _ filesystem: ImageFilesystem,
        _ point: MountPoint,
        _ name: String
    ) throws(SystemError) -> FuseSession {
        let turn = MountTurn(in: options.runtimeDirectory, log)
        let stale = try point.clearStale()
        if stale > 0 { log.warning("stale mount cleared", ["path": point.path, "mounts": stale]) }
        let session = try FuseSession(
            filesystem,
            mountedAt: point.path,
            source: name,
            restrictions: options.restrictions
        )
        turn.end()
        return session
    }

    /// Before the mount is handed out: files that are open keep the old setting.
    private func setReadAhead(_ point: MountPoint) {
        // Only root may, and an ordinary user's mount is as good as the kernel's setting.
        guard CurrentProcess.isRoot else { return }
        do throws(SystemError) {
            let found = try point.setReadAhead(kilobytes: options.readAheadKilobytes)
            guard found != options.readAheadKilobytes else { return }
            log.warning("read-ahead is another than was set", ["kilobytes": found])
        } catch {
            log.warning("read-ahead not set", ["cause": error])
        }
    }

    /// Frees what is kept of images that nobody needs any more; what is mounted stays in use.
    ///
    /// - Parameter layers: the blobs and bootstrap layers that stay.
    /// - Throws: `SystemError` if something cannot be removed.
    package func freeCache(keeping layers: Set<Digest>) throws(SystemError) {
        let count = try cache.removeBlobs(except: layers)
        let images = "\(options.cacheDirectory)/images"
        for name in (try? FileSystem.names(inDirectory: images)) ?? [] {
            guard let digest = Digest(hex: name), !layers.contains(digest) else { continue }
            // A mount has what it needs of it mapped.
            let directory = "\(images)/\(name)"
            for file in try FileSystem.names(inDirectory: directory) {
                try FileSystem.removeFile("\(directory)/\(file)")
            }
            try FileSystem.removeDirectory(directory)
        }
        if count > 0 { log.info("cache freed", ["blobs": count]) }
    }

    /// Ends the fetching, makes everything durable and ends the workers; reads that wait fail.
    ///
    /// To be called when all mounts have ended.
    package func close() {
        cache.close()
        workers.stop()
    }

    /// Makes durable what is here, and goes on: for a process that leaves its mounts to the next one.
    ///
    /// What it has not answered must stay so: the next process is sent it.
    package func flush() {
        cache.flush()
    }

    /// Ends without waiting, for a process that exits now.
    package func abandon() {
        cache.abandon()
    }
}

/// One mount of an engine.
package final class MountedImage: Sendable {
    /// Where it is.
    package let point: MountPoint
    private let image: OpenImage
    private let session: FuseSession
    private let cache: ChunkCache
    private let log: Logger

    init(
        _ image: OpenImage,
        _ point: MountPoint,
        _ session: FuseSession,
        _ cache: ChunkCache,
        _ log: Logger
    ) {
        self.image = image
        self.point = point
        self.session = session
        self.cache = cache
        self.log = log
    }

    /// The stored bytes of all chunks that files of the image have.
    package var storedBytes: UInt64 { image.storedBytes }

    /// A descriptor that can be read once the mount has ended, its last user included.
    package var endDescriptor: Int32 { session.endDescriptor }

    /// Another descriptor of /dev/fuse for the mount, which lives while any of them is open.
    ///
    /// - Returns: it; the caller's.
    /// - Throws: `SystemError` if the process has no descriptor left.
    package func duplicateDescriptor() throws(SystemError) -> OwnedDescriptor {
        try session.duplicateDescriptor()
    }

    /// The kernel's first request, which a process that takes the mount over must know.
    package var keptInitRequest: [UInt8] { session.keptInitRequest }

    /// Takes the mount out of sight; whoever uses it is served on.
    package func unmount() {
        do throws(SystemError) {
            if try !point.unmount() {
                log.warning("in use, detached: served until its last user ends")
            }
        } catch {
            // Somebody has detached it already; the kernel says when it ends.
            log.warning("not unmounted", ["cause": error])
        }
    }

    /// Waits for the end of the mount, and closes its image's part of the cache.
    ///
    /// - Throws: `SystemError`.
    package func close() throws(SystemError) {
        try session.waitUntilEnded()
        image.close(cache)
        log.info("unmounted", ["path": point.path])
    }
}
