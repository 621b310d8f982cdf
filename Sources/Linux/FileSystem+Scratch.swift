// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

extension FileSystem {
    /// Makes a file without a name, for reading and writing: it is gone when it is closed, however
    /// the process ends.
    ///
    /// - Parameter directory: where its space is taken.
    /// - Returns: the open file.
    /// - Throws: `SystemError` naming the directory.
    package static func unnamedFile(in directory: String) throws(SystemError) -> OwnedDescriptor {
        do throws(SystemError) {
            // O_EXCL: nobody can ever give it a name.
            return try OwnedDescriptor.open(
                directory,
                O_RDWR | O_EXCL | clinux_o_tmpfile(),
                mode: 0o600
            )
        } catch {
            // What a file system says that has no such files: NFS and FUSE EOPNOTSUPP, old kernels
            // the others.
            guard [EOPNOTSUPP, EISDIR, ENOENT, EINVAL].contains(error.code) else { throw error }
        }
        return try removedFile(in: directory)
    }

    /// A file that has lost its name as soon as it was made, where there are none without one.
    static func removedFile(in directory: String) throws(SystemError) -> OwnedDescriptor {
        let path = "\(directory)/.lazypull-\(CurrentProcess.id)-\(CurrentProcess.randomName)"
        let file = try OwnedDescriptor.open(
            path,
            O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
            mode: 0o600
        )
        // For a moment it has a name: only a death right here leaves it behind.
        try removeFile(path)
        return file
    }

    /// How many bytes an ordinary user may still write where the path is.
    ///
    /// - Parameter path: a file or directory of the file system.
    /// - Returns: the bytes.
    /// - Throws: `SystemError` naming the path.
    package static func availableBytes(at path: String) throws(SystemError) -> UInt64 {
        var status = statvfs()
        try retryingOnInterrupt("statvfs", path) { unsafe statvfs(path, &status) }
        let (bytes, overflow) = UInt64(status.f_bavail)
            .multipliedReportingOverflow(by: UInt64(status.f_frsize))
        return overflow ? .max : bytes
    }
}

extension SystemError {
    /// The refusal of work for which there is no room (ENOSPC).
    ///
    /// - Parameters:
    ///   - work: what was to be done: `spool 5 bytes`.
    ///   - place: where, and how much there is.
    /// - Returns: the error.
    package static func noSpace(_ work: String, _ place: String) -> SystemError {
        SystemError(work, place, code: ENOSPC)
    }
}

extension CurrentProcess {
    /// Text that no other call gives, in this process or another: up to 16 hexadecimal digits.
    package static var randomName: String {
        String(UInt64.random(in: .min ... .max), radix: 16)
    }
}
