// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Names in directories: links, renames, removals.
package enum DirectoryEntry {
    /// Gives a file a second name on the same file system.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - name: the new name, which must not exist.
    /// - Throws: `SystemError`; EXDEV if the name lies on another file system.
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

    /// Gives a file another name at once, replacing what had it.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - name: its new name. Where both are links of one file, nothing happens (rename(2)).
    /// - Throws: `SystemError`.
    package static func rename(_ path: String, to name: String) throws(SystemError) {
        try retryingOnInterrupt("rename", name) { unsafe Glibc.rename(path, name) }
    }

    /// Removes a name that is no directory.
    ///
    /// - Parameter path: the name.
    /// - Throws: `SystemError`.
    package static func remove(_ path: String) throws(SystemError) {
        try retryingOnInterrupt("unlink", path) { unsafe unlink(path) }
    }
}
