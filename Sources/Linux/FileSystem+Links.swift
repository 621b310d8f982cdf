// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

extension FileSystem {
    /// Gives a file a second name on the same file system.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - name: the new name, which must not exist.
    /// - Throws: `SystemError`; see `SystemError.isOtherFileSystem`.
    package static func makeHardLink(to path: String, named name: String) throws(SystemError) {
        try retryingOnInterrupt("link", name) { unsafe link(path, name) }
    }

    /// Makes a symbolic link.
    ///
    /// - Parameters:
    ///   - target: the link's text.
    ///   - name: the link's own path, which must not exist.
    /// - Throws: `SystemError`.
    package static func makeSymbolicLink(
        to target: String,
        named name: String
    ) throws(SystemError) {
        try retryingOnInterrupt("symlink", name) { unsafe symlink(target, name) }
    }

    /// The text of a symbolic link.
    ///
    /// - Parameter path: the link.
    /// - Returns: what it points to.
    /// - Throws: `SystemError`; EINVAL if it is no symbolic link.
    package static func target(ofSymbolicLink path: String) throws(SystemError) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try retryingOnInterrupt("readlink", path) {
            unsafe readlink(path, &buffer, buffer.count)
        }
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Opens a file for appending, making it if it does not exist; readable for its group.
    ///
    /// - Parameter path: the file.
    /// - Returns: the open file.
    /// - Throws: `SystemError`.
    package static func openForAppending(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, O_WRONLY | O_CREAT | O_APPEND, mode: 0o640)
    }
}

extension SystemError {
    /// Whether a link or a rename would have led to another file system.
    package var isOtherFileSystem: Bool { code == EXDEV }
}
