// SPDX-License-Identifier: Apache-2.0

import Glibc
package import Linux

/// A directory that a session is, or will be, mounted at.
package struct MountPoint: Sendable {
    /// The directory's path, canonical.
    package let path: String

    /// How long a mount may take to answer, in milliseconds.
    private static let patience: Int32 = 5_000

    /// The directory of that path, which need not answer: a dead mount may be on it.
    ///
    /// - Parameter path: an existing directory.
    /// - Throws: `SystemError` if it does not exist or is no directory.
    package init(_ path: String) throws(SystemError) {
        // Only what is above is resolved first: asking a mount that hangs would hang.
        if let candidate = try Self.underCanonicalParent(path),
            try MountTable().topmost(at: candidate)?.type == FuseSession.typeName
        {
            self.path = candidate
            return
        }
        self.path = try FileSystem.canonicalPath(path)
        guard try FileStatus(path: self.path).isDirectory else {
            throw SystemError("mount", self.path, code: ENOTDIR)
        }
    }

    /// The directory of a mount that was made there, which may be gone meanwhile.
    ///
    /// - Parameter path: its path, canonical.
    package init(known path: String) {
        self.path = path
    }

    /// Whether what is seen here is the file system of that device.
    ///
    /// Nobody is asked but the kernel's mount table: the file system need not answer.
    ///
    /// - Parameter device: the device, as stat(2) gives it.
    /// - Returns: whether it is.
    package func shows(device: UInt64) -> Bool {
        (try? MountTable().topmost(at: path)?.deviceNumber) == device
    }

    private static func underCanonicalParent(_ path: String) throws(SystemError) -> String? {
        let parts = path.split(separator: "/")
        guard let name = parts.last, name != ".", name != ".." else { return nil }
        let above = parts.dropLast().joined(separator: "/")
        let parent = try FileSystem.canonicalPath(
            path.hasPrefix("/") ? "/" + above : (above.isEmpty ? "." : above)
        )
        return parent == "/" ? "/\(name)" : "\(parent)/\(name)"
    }

    /// Takes mounts of ours away that a dead process left here.
    ///
    /// - Returns: how many there were.
    /// - Throws: `SystemError`: EBUSY if a mount of ours is here and its process lives.
    package func clearStale() throws(SystemError) -> Int {
        var count = 0
        while try MountTable().topmost(at: path)?.type == FuseSession.typeName {
            guard try Liveness.probe(path, milliseconds: Self.patience) == .failed(ENOTCONN) else {
                throw SystemError("mount", "\(path), where an image is mounted", code: EBUSY)
            }
            try detach()
            count += 1
        }
        return count
    }

    /// Waits until the session that was mounted here answers.
    ///
    /// - Throws: `SystemError`: ETIMEDOUT if it does not.
    package func awaitAnswer() throws(SystemError) {
        switch try Liveness.probe(path, milliseconds: Self.patience) {
        case .alive: return
        case .silent: throw SystemError("statfs", path, code: ETIMEDOUT)
        case .failed(let code): throw SystemError("statfs", path, code: code)
        }
    }

    /// Sets how far the kernel reads ahead here: what every fault of a mapped file fetches.
    ///
    /// It must be answering: the reply to INIT overwrites the setting, and files that are open
    /// keep the old one.
    ///
    /// - Parameter kilobytes: the window.
    /// - Returns: the window that the kernel shows now.
    /// - Throws: `SystemError`, as where /sys is read-only; the kernel's own setting then holds.
    @discardableResult
    package func setReadAhead(kilobytes: Int) throws(SystemError) -> Int {
        guard let entry = try MountTable().topmost(at: path) else {
            throw SystemError("mountinfo", path, code: ENOENT)
        }
        let setting = "/sys/class/bdi/\(entry.device)/read_ahead_kb"
        let file = try OwnedDescriptor.open(setting, O_WRONLY)
        let text = Array(String(kilobytes).utf8)
        try unsafe file.write(text.span.bytes, setting)
        let found = try FileSystem.contents(of: setting).prefix { $0 != UInt8(ascii: "\n") }
        return Int(String(decoding: found, as: UTF8.self)) ?? 0
    }

    /// Takes the mount out of sight, whatever state it is in.
    ///
    /// - Throws: `SystemError`: EINVAL if nothing is mounted here.
    package func detach() throws(SystemError) {
        try unmount(lazily: true)
    }

    private func unmount(lazily: Bool) throws(SystemError) {
        guard CurrentProcess.isRoot else {
            return try UserMount.unmount(at: path, lazily: lazily)
        }
        try unmountFileSystem(at: path, lazily: lazily)
    }

    /// Ends the mount.
    ///
    /// - Returns: false if it is in use: it is out of sight, and ends with its last user.
    /// - Throws: `SystemError`: EINVAL if nothing is mounted here.
    package func unmount() throws(SystemError) -> Bool {
        do {
            try unmount(lazily: false)
            return true
        } catch  where error.code == EBUSY {
            try detach()
            return false
        }
    }
}
