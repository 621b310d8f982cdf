// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The path of a unix socket that a service listens on.
///
/// The socket is made under another name beside it, given its permissions, and then renamed over
/// what a service that died left behind: nobody ever meets one with wrong permissions, and there is
/// no moment without a socket.
package final class ServiceSocket: Sendable {
    /// Where clients find the service.
    package let path: String
    /// Where the socket is to be bound before `publish`.
    package let temporaryPath: String
    /// Locked until `publish`, so that of two services that start at once one finds the other.
    private let directory: OwnedDescriptor
    private let published = Monitor<UInt64?>(nil)

    /// Takes a path for a service.
    ///
    /// - Parameter path: an absolute path, in a directory that exists.
    /// - Throws: `SystemError`: EADDRINUSE if a service listens there, ENOENT without the
    ///   directory, ENAMETOOLONG for more bytes than a socket's address holds, EEXIST if something
    ///   else than a socket has the name.
    package init(claiming path: String) throws(SystemError) {
        self.path = path
        temporaryPath = path + "~"
        guard temporaryPath.utf8.count < Self.addressCapacity else {
            throw SystemError("bind", path, code: ENAMETOOLONG)
        }
        guard path.hasPrefix("/"), let slash = path.lastIndex(of: "/") else {
            throw SystemError("bind", "\(path), which is no absolute path", code: EINVAL)
        }
        let parent = slash == path.startIndex ? "/" : String(path[..<slash])
        directory = try OwnedDescriptor.open(parent, O_RDONLY | O_DIRECTORY)
        try directory.lock(parent)
        if try Self.answers(path) {
            throw SystemError("bind", "\(path), where a service listens", code: EADDRINUSE)
        }
        try? FileSystem.removeFile(temporaryPath)
    }

    /// The most bytes of a path, with its terminator.
    private static var addressCapacity: Int {
        MemoryLayout.size(ofValue: sockaddr_un().sun_path)
    }

    /// Whether a service listens there.
    private static func answers(_ path: String) throws(SystemError) -> Bool {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return false }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw SystemError("bind", "\(path), which is no socket", code: EEXIST)
        }
        let socket = try Self.socket()
        do {
            try unsafe Self.call("connect", path) { unsafe connect(socket.number, $0, $1) }
            return true
        } catch {
            if error.code == ECONNREFUSED || error.code == ENOENT { return false }
            // A full queue of one that listens.
            if error.code == EAGAIN { return true }
            throw error
        }
    }

    private static func socket() throws(SystemError) -> OwnedDescriptor {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        return OwnedDescriptor(
            owning: try retryingOnInterrupt("socket", "unix") { Glibc.socket(AF_UNIX, type, 0) }
        )
    }

    private static func call(
        _ name: String,
        _ path: String,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(SystemError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
            unsafe field.copyBytes(from: path.utf8.prefix(field.count - 1))
        }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        try retryingOnInterrupt(name, path) {
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe body($0, size)
                }
            }
        }
    }

    /// Listens, for a library that takes a listening socket.
    ///
    /// - Returns: the socket, non-blocking; not published yet.
    /// - Throws: `SystemError`.
    package func listen() throws(SystemError) -> OwnedDescriptor {
        let socket = try Self.socket()
        try unsafe Self.call("bind", temporaryPath) { unsafe bind(socket.number, $0, $1) }
        try retryingOnInterrupt("listen", path) { Glibc.listen(socket.number, 64) }
        return socket
    }

    /// Lets clients find the socket that has been bound.
    ///
    /// - Parameter mode: the permissions: 0600 for the service's own user.
    /// - Throws: `SystemError`.
    package func publish(mode: UInt32) throws(SystemError) {
        try retryingOnInterrupt("chmod", temporaryPath) { unsafe chmod(temporaryPath, mode) }
        var status = stat()
        try retryingOnInterrupt("stat", temporaryPath) { unsafe lstat(temporaryPath, &status) }
        try FileSystem.rename(temporaryPath, to: path)
        let inode = UInt64(status.st_ino)
        published.update { $0 = inode }
        _ = flock(directory.number, LOCK_UN)
    }

    /// Removes the socket's name, unless another service has taken it.
    package func remove() {
        guard let inode = published.update({ $0 }) else {
            try? FileSystem.removeFile(temporaryPath)
            return
        }
        var status = stat()
        guard unsafe lstat(path, &status) == 0, UInt64(status.st_ino) == inode else { return }
        try? FileSystem.removeFile(path)
    }
}
