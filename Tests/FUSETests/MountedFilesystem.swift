// SPDX-License-Identifier: Apache-2.0

import FUSE
import Glibc
import Linux

/// Whether this process can mount.
let canMount = geteuid() == 0 && (unsafe access("/dev/fuse", R_OK | W_OK)) == 0

/// A tiny file system, mounted for a test.
final class MountedFilesystem {
    let filesystem: TinyFilesystem
    let session: FuseSession
    let point: MountPoint
    private let workers: FuseWorkers

    init(hasXattrs: Bool = true, workers count: Int = 4) throws {
        var template = Array("/tmp/lazypull-fuse-XXXXXX".utf8CString)
        guard let path = unsafe mkdtemp(&template) else {
            throw SystemError("mkdtemp", "/tmp", code: errno)
        }
        point = try MountPoint(unsafe String(cString: path))
        filesystem = TinyFilesystem(hasXattrs: hasXattrs)
        workers = try FuseWorkers(count: count)
        session = try FuseSession(filesystem, mountedAt: point.path, source: "tiny")
        try workers.serve(session)
        try point.awaitAnswer()
    }

    deinit {
        try? unmountFileSystem(at: point.path, lazily: true)
        try? session.waitUntilEnded()
        workers.stop()
        _ = unsafe rmdir(point.path)
    }

    func path(_ name: String) -> String { "\(point.path)/\(name)" }

    func status(_ name: String) throws -> stat {
        var status = stat()
        try retryingOnInterrupt("lstat", name) { unsafe lstat(path(name), &status) }
        return status
    }
}
