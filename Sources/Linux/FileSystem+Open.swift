// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

extension FileSystem {
    /// The names in a directory in no order.
    ///
    /// - Parameter path: the directory.
    /// - Returns: the names without `.` and `..` and those that are not UTF-8.
    /// - Throws: `SystemError`.
    package static func names(inDirectory path: String) throws(SystemError) -> [String] {
        guard let directory = unsafe opendir(path) else {
            throw SystemError("opendir", path, code: errno)
        }
        defer { _ = unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let name, name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Opens a regular file for reading; never waits for a pipe's other end.
    ///
    /// - Parameter path: the file.
    /// - Returns: the open file.
    /// - Throws: `SystemError`; EINVAL if it is something else than a regular file.
    package static func openRegular(_ path: String) throws(SystemError) -> OwnedDescriptor {
        let file = try OwnedDescriptor.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
        guard FileStatus.isRegular(try file.status(path)) else {
            throw SystemError("open as a regular file", path, code: EINVAL)
        }
        return file
    }

    /// Makes a new file and opens it for reading and writing.
    ///
    /// - Parameter path: the file; must not exist.
    /// - Returns: the open file.
    /// - Throws: `SystemError`; see `SystemError.isAlreadyThere`.
    package static func create(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)
    }

    /// Opens a file for reading and writing, and makes it if it is missing.
    ///
    /// - Parameter path: the file.
    /// - Returns: the open file.
    /// - Throws: `SystemError`.
    package static func openOrCreate(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
    }

    /// Opens an existing file for reading and writing.
    ///
    /// - Parameter path: the file.
    /// - Returns: the open file.
    /// - Throws: `SystemError`.
    package static func openForUpdate(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK)
    }
}

extension FileStatus {
    /// Whether the status is a regular file's.
    static func isRegular(_ status: FileStatus) -> Bool {
        status.mode & 0o170_000 == 0o100_000
    }
}

extension CurrentProcess {
    /// The process's number, in its own PID namespace.
    package static var id: Int32 { getpid() }
}

extension SystemError {
    /// Whether the file named, or a directory on the way to it, does not exist.
    package var isNotFound: Bool { code == ENOENT || code == ENOTDIR }

    /// Whether the file may not be touched by us.
    package var isPermissionDenied: Bool { code == EACCES || code == EPERM }

    /// Whether the storage, a quota or a limit on files has no room left.
    package var isOutOfSpace: Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }

    /// Whether something was to be made that exists.
    package var isAlreadyThere: Bool { code == EEXIST }

    /// Whether what bears the name is no directory.
    package var isNotADirectory: Bool { code == ENOTDIR || code == ELOOP }

    /// Whether a directory was to be removed that has entries.
    package var isNotEmpty: Bool { code == ENOTEMPTY || code == EEXIST }
}

extension SystemError {
    /// What cannot be done here at all (EOPNOTSUPP).
    ///
    /// - Parameters:
    ///   - work: what was to be done.
    ///   - place: where, and what is missing there.
    /// - Returns: the error.
    package static func unsupported(_ work: String, _ place: String) -> SystemError {
        SystemError(work, place, code: EOPNOTSUPP)
    }
}

extension OwnedDescriptor {
    /// Takes an exclusive lock on the file (flock), and waits while somebody else has it.
    ///
    /// - Parameter object: the file, for the error.
    /// - Throws: `SystemError`.
    package func lock(_ object: @autoclosure () -> String) throws(SystemError) {
        try retryingOnInterrupt("flock", object()) { flock(number, LOCK_EX) }
    }
}
