// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// What is done with names rather than with open files.
package enum FileSystem {
    /// Makes a directory and those above it that are missing.
    ///
    /// - Parameters:
    ///   - path: the directory.
    ///   - mode: permissions of directories that are made, before the umask.
    /// - Throws: `SystemError` naming the directory that could not be made.
    package static func makeDirectories(_ path: String, mode: UInt32 = 0o755) throws(SystemError) {
        if unsafe mkdir(path, mode) == 0 { return }
        let code = errno
        if code == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try makeDirectories(String(path[..<slash]), mode: mode)
            if unsafe mkdir(path, mode) == 0 || errno == EEXIST { return }
            throw SystemError("mkdir", path, code: errno)
        }
        guard code == EEXIST, let status = try? FileStatus(path: path), status.isDirectory else {
            throw SystemError("mkdir", path, code: code)
        }
    }

    /// Makes one directory with just these permissions, whatever the umask.
    ///
    /// - Parameters:
    ///   - path: the directory; the one above it must exist.
    ///   - mode: its permissions.
    /// - Throws: `SystemError`; see `SystemError.isAlreadyThere`.
    package static func makeDirectory(_ path: String, mode: UInt32) throws(SystemError) {
        try retryingOnInterrupt("mkdir", path) { unsafe mkdir(path, mode) }
        try retryingOnInterrupt("chmod", path) { unsafe chmod(path, mode) }
    }

    /// Gives a file to a user and a group; a link is not followed.
    ///
    /// - Throws: `SystemError`.
    package static func setOwner(
        _ path: String,
        user: UInt32,
        group: UInt32
    ) throws(SystemError) {
        try retryingOnInterrupt("lchown", path) { unsafe lchown(path, user, group) }
    }

    /// Gives a file another name, replacing what bears it.
    ///
    /// - Throws: `SystemError` naming both.
    package static func rename(_ path: String, to target: String) throws(SystemError) {
        try retryingOnInterrupt("rename", "\(path) to \(target)") {
            unsafe Glibc.rename(path, target)
        }
    }

    /// Removes a file; nothing happens if there is none.
    ///
    /// - Throws: `SystemError` naming it.
    package static func removeFile(_ path: String) throws(SystemError) {
        do {
            try retryingOnInterrupt("unlink", path) { unsafe unlink(path) }
        } catch  where error.code == ENOENT {
            return
        }
    }

    /// Removes an empty directory.
    ///
    /// - Throws: `SystemError` naming it.
    package static func removeDirectory(_ path: String) throws(SystemError) {
        try retryingOnInterrupt("rmdir", path) { unsafe rmdir(path) }
    }

    /// Makes the names in a directory safe on storage.
    ///
    /// - Throws: `SystemError` naming it.
    package static func synchronizeDirectory(_ path: String) throws(SystemError) {
        let directory = try OwnedDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        try directory.synchronize(path)
    }

    /// A file's content.
    ///
    /// - Parameters:
    ///   - path: the file; may be one of /proc or /sys, which have no size.
    ///   - limit: how many bytes are read at most.
    /// - Returns: its bytes.
    /// - Throws: `SystemError` naming it; EFBIG if it has more bytes than the limit.
    package static func contents(
        of path: String,
        limit: Int = 1 << 26
    ) throws(SystemError) -> [UInt8] {
        try contents(of: OwnedDescriptor.open(path, O_RDONLY), path, limit: limit)
    }

    /// Everything that comes on standard input.
    ///
    /// - Parameter limit: how many bytes are read at most.
    /// - Returns: the bytes.
    /// - Throws: `SystemError`; EFBIG if there are more bytes than the limit.
    package static func standardInput(limit: Int) throws(SystemError) -> [UInt8] {
        let name = "standard input"
        // A copy to close: the number 0 stays taken.
        let number = try retryingOnInterrupt("dup", name) { dup(STDIN_FILENO) }
        return try contents(of: OwnedDescriptor(owning: number), name, limit: limit)
    }

    private static func contents(
        of file: borrowing OwnedDescriptor,
        _ name: String,
        limit: Int
    ) throws(SystemError) -> [UInt8] {
        var result: [UInt8] = []
        let buffer = try AnonymousMemory(byteCount: 1 << 16)
        while true {
            let count = try unsafe file.read(into: buffer.bytes, name)
            if count == 0 { return result }
            guard result.count + count <= limit else {
                throw SystemError("read", name, code: EFBIG)
            }
            unsafe result.append(contentsOf: buffer.bytes[..<count])
        }
    }

    /// Replaces a file's content so that, after a crash at any moment, the name has either the
    /// old content or the new.
    ///
    /// - Parameters:
    ///   - path: the file; `path.new` is used on the way.
    ///   - bytes: the new content.
    ///   - isDurable: whether that holds for a crash of the machine, too, not only of the process.
    /// - Throws: `SystemError`; the name then has its old content.
    package static func replace(
        _ path: String,
        with bytes: RawSpan,
        isDurable: Bool = true
    ) throws(SystemError) {
        let temporary = path + ".new"
        let file = try OwnedDescriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(bytes, temporary)
        if isDurable { try file.synchronizeData(temporary) }
        try rename(temporary, to: path)
    }

    /// The path with all symbolic links resolved, from the root.
    ///
    /// - Throws: `SystemError` naming the path.
    package static func canonicalPath(_ path: String) throws(SystemError) -> String {
        guard let resolved = unsafe realpath(path, nil) else {
            throw SystemError("realpath", path, code: errno)
        }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }
}

extension OwnedDescriptor {
    /// The generation of the file's inode; 0 where the file system has none.
    ///
    /// It tells a file from a later one with the same inode number.
    package var inodeGeneration: UInt32 {
        var generation: Int32 = 0
        guard unsafe clinux_inode_generation(number, &generation) == 0 else { return 0 }
        return UInt32(bitPattern: generation)
    }

    /// Allocates storage for the beginning of a file, so that a store into a mapping finds it.
    ///
    /// - Parameters:
    ///   - byteCount: how much.
    ///   - object: the file, for the error.
    /// - Throws: `SystemError`: no space.
    package func allocate(
        _ byteCount: Int,
        _ object: @autoclosure () -> String
    ) throws(SystemError) {
        while true {
            let code = posix_fallocate(number, 0, off_t(byteCount))
            if code == 0 { return }
            guard code == EINTR else {
                throw SystemError("posix_fallocate", object(), code: code)
            }
        }
    }
}

/// The kernel's random name for the time since it booted: 16 bytes, or nil without /proc.
package func currentBootID() -> [UInt8]? {
    guard let text = try? FileSystem.contents(of: "/proc/sys/kernel/random/boot_id") else {
        return nil
    }
    let digits = text.filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: "\n") }
    guard digits.count == 32 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: 32, by: 2) {
        let pair = String(decoding: digits[index..<index + 2], as: UTF8.self)
        guard let byte = UInt8(pair, radix: 16) else { return nil }
        bytes.append(byte)
    }
    return bytes
}
