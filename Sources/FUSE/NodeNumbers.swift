// SPDX-License-Identifier: Apache-2.0

import CFuse
import CLinux
import Glibc

/// How the file system's node numbers and the kernel's are exchanged.
///
/// The kernel's root is node 1. An image's root has another number, and a hostile image may give
/// the number 1 to any file: the two change places, all others stay.
struct NodeNumbers: Sendable {
    /// The root's number in the file system.
    let root: UInt64

    /// The other side's number of a node; the exchange is its own inverse.
    func exchanged(_ node: UInt64) -> UInt64 {
        if node == root { return UInt64(FUSE_ROOT_ID) }
        return node == UInt64(FUSE_ROOT_ID) ? root : node
    }

    /// Attributes as the kernel wants them.
    func status(_ attributes: FuseAttributes) -> stat {
        var status = stat()
        status.st_ino = UInt(attributes.node)
        status.st_mode = attributes.mode
        status.st_nlink = nlink_t(attributes.linkCount)
        status.st_uid = attributes.userID
        status.st_gid = attributes.groupID
        // libfuse hands the low 32 bits on as they are; they are the kernel's encoding.
        status.st_rdev = dev_t(attributes.device)
        status.st_size = off_t(clamping: attributes.size)
        status.st_blksize = 4096
        status.st_blocks = Self.blocks(attributes)
        status.st_mtim.tv_sec = time_t(attributes.modificationSeconds)
        status.st_mtim.tv_nsec = Int(attributes.modificationNanoseconds)
        status.st_atim = status.st_mtim
        status.st_ctim = status.st_mtim
        return status
    }

    /// The space that the usual file systems give a file without holes, in units of 512 bytes, so
    /// that du(1) says of an image what it says of its files once they are unpacked.
    private static func blocks(_ attributes: FuseAttributes) -> blkcnt_t {
        let isLink = attributes.mode & 0o170_000 == 0o120_000
        // ext4 and XFS keep the target of a short link in the inode.
        if isLink, attributes.size < 60 { return 0 }
        let pages = attributes.size / 4096 + (attributes.size % 4096 == 0 ? 0 : 1)
        return blkcnt_t(clamping: pages * 8)
    }

    /// A name's target as the kernel wants it.
    func entry(_ attributes: FuseAttributes) -> fuse_entry_param {
        var entry = fuse_entry_param()
        entry.ino = exchanged(attributes.node)
        entry.attr = status(attributes)
        entry.attr_timeout = Self.forever
        entry.entry_timeout = Self.forever
        return entry
    }

    /// A name that nothing bears, to be remembered: node 0.
    func negativeEntry() -> fuse_entry_param {
        var entry = fuse_entry_param()
        entry.entry_timeout = Self.forever
        return entry
    }

    /// How long the kernel may believe an answer, in seconds: an image never changes.
    static let forever = 1e10
}
