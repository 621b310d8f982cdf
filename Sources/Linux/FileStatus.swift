// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// What stat(2) tells of a file, as far as it is used here.
package struct FileStatus: Sendable {
    /// The device the file is on.
    package var device: UInt64
    /// The inode number on that device.
    package var inode: UInt64
    /// Type and permission bits.
    package var mode: UInt16
    /// The owner's user id.
    package var userID: UInt32
    /// The group's id.
    package var groupID: UInt32
    /// How many names the file has; of a directory, whatever the file system counts.
    package var linkCount: UInt64
    /// The size in bytes.
    package var size: UInt64
    /// The space taken on storage, in bytes.
    package var allocatedBytes: UInt64
    /// When its content was changed last, in seconds since 1970.
    package var modificationSeconds: Int64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        mode = UInt16(truncatingIfNeeded: status.st_mode)
        userID = status.st_uid
        groupID = status.st_gid
        linkCount = UInt64(status.st_nlink)
        size = UInt64(status.st_size)
        allocatedBytes = UInt64(status.st_blocks) * 512
        modificationSeconds = Int64(status.st_mtim.tv_sec)
    }

    /// The status of what the path names, symbolic links followed.
    ///
    /// - Parameter path: the path.
    /// - Throws: `SystemError` naming the path.
    package init(path: String) throws(SystemError) {
        var status = stat()
        try retryingOnInterrupt("stat", path) { unsafe stat(path, &status) }
        self.init(status)
    }

    /// Whether it is a regular file.
    package var isRegular: Bool { mode & 0o170_000 == 0o100_000 }

    /// Whether it is a directory.
    package var isDirectory: Bool { mode & 0o170_000 == 0o040_000 }
}
