// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Where a holder of descriptors listens: a unix socket of sequenced packets, mode 0600.
struct HolderSocket: Sendable {
    let path: String

    /// The socket of that path, which may be longer than a socket's address.
    init(_ path: String) {
        self.path = path
    }

    /// Connects with whoever listens.
    ///
    /// - Returns: the connection; nil if nobody listens.
    /// - Throws: `SystemError`: EPERM if it is another user.
    func connect() throws(SystemError) -> HolderConnection? {
        let socket = try Self.socket()
        do throws(SystemError) {
            try unsafe call("connect") { unsafe Glibc.connect(socket.number, $0, $1) }
        } catch {
            guard error.code == ECONNREFUSED || error.code == ENOENT else { throw error }
            return nil
        }
        return try HolderConnection(socket)
    }

    /// Starts a holder, and connects with it.
    ///
    /// - Parameter starter: starts the process that is given the listening socket.
    /// - Returns: the connection.
    /// - Throws: `SystemError`.
    func start(
        _ starter: (Int32) throws(SystemError) -> Void
    ) throws(SystemError) -> HolderConnection {
        // The service owns the directory: nobody else does the same here.
        try FileSystem.removeFile(path)
        let socket = try Self.socket()
        // Before anybody listens nobody can connect.
        try unsafe call("bind") { unsafe bind(socket.number, $0, $1) }
        try retryingOnInterrupt("chmod", path) { unsafe chmod(path, 0o600) }
        try retryingOnInterrupt("listen", path) { listen(socket.number, 16) }
        try starter(socket.number)
        guard let connection = try connect() else {
            throw SystemError("connect", path, code: ECONNREFUSED)
        }
        return connection
    }

    private static func socket() throws(SystemError) -> OwnedDescriptor {
        let type = Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        return OwnedDescriptor(
            owning: try retryingOnInterrupt("socket", "unix") { Glibc.socket(AF_UNIX, type, 0) }
        )
    }

    /// Calls with the socket's address: by its directory's descriptor, since a root directory's
    /// path may be longer than an address.
    private func call(
        _ name: String,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(SystemError) {
        let parts = path.split(separator: "/")
        let parent = "/" + parts.dropLast().joined(separator: "/")
        let directory = try OwnedDescriptor.open(parent, O_RDONLY | O_DIRECTORY)
        let short = "/proc/self/fd/\(directory.number)/\(parts.last ?? "")"
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard short.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemError(name, path, code: ENAMETOOLONG)
        }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: short.utf8)
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
}
