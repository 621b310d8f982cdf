// SPDX-License-Identifier: Apache-2.0

/// What kind of file an inode is.
package enum FileType: UInt8, Sendable, CaseIterable {
    case regular = 1
    case directory = 2
    case characterDevice = 3
    case blockDevice = 4
    case fifo = 5
    case socket = 6
    case symlink = 7

    /// The type bits of `st_mode` (S_IFMT), as in inode(7).
    package var modeBits: UInt16 {
        switch self {
        case .regular: 0o100_000
        case .directory: 0o040_000
        case .characterDevice: 0o020_000
        case .blockDevice: 0o060_000
        case .fifo: 0o010_000
        case .socket: 0o140_000
        case .symlink: 0o120_000
        }
    }

    /// The type that the mode's type bits name; nil if they name none.
    package init?(mode: UInt16) {
        guard let type = Self.allCases.first(where: { $0.modeBits == mode & 0o170_000 }) else {
            return nil
        }
        self = type
    }

    /// Whether inodes of this type carry a device number.
    package var isDevice: Bool { self == .characterDevice || self == .blockDevice }
}

/// Owner, permissions and modification time of a file.
package struct FileAttributes: Hashable, Sendable {
    /// Permission bits with setuid, setgid and sticky: 0...0o7777.
    package var permissions: UInt16
    /// The owner's user id.
    package var userID: UInt32
    /// The owner's group id.
    package var groupID: UInt32
    /// Modification time, whole seconds since the epoch; may be negative.
    package var modificationSeconds: Int64
    /// The rest of the modification time in nanoseconds: 0..<1_000_000_000.
    package var modificationNanoseconds: UInt32

    /// Attributes with the values.
    package init(
        permissions: UInt16,
        userID: UInt32 = 0,
        groupID: UInt32 = 0,
        modificationSeconds: Int64 = 0,
        modificationNanoseconds: UInt32 = 0
    ) {
        self.permissions = permissions
        self.userID = userID
        self.groupID = groupID
        self.modificationSeconds = modificationSeconds
        self.modificationNanoseconds = modificationNanoseconds
    }

    /// What a directory gets that no tar entry describes: 0755, root, time 0.
    package static let implicitDirectory = FileAttributes(permissions: 0o755)
}

/// A device number, split as `makedev(3)` joins it.
package struct DeviceNumber: Hashable, Sendable {
    /// The major number: 0..<4096 fits the kernel's 32-bit encoding.
    package var major: UInt32
    /// The minor number: 0..<1_048_576 fits the kernel's 32-bit encoding.
    package var minor: UInt32

    /// The device with the numbers.
    package init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    /// The numbers in the kernel's 32-bit encoding (new_encode_dev), as inodes store them.
    package init(encoded: UInt32) {
        major = encoded >> 8 & 0xfff
        minor = encoded & 0xff | encoded >> 12 & 0xfff00
    }

    /// The kernel's 32-bit encoding (new_encode_dev); nil if a number does not fit.
    package var encoded: UInt32? {
        guard major < 1 << 12, minor < 1 << 20 else { return nil }
        return minor & 0xff | major << 8 | (minor & ~0xff) << 12
    }
}

/// One extended attribute: its full name, such as `user.comment`, and its value.
package struct ExtendedAttribute: Hashable, Sendable {
    /// The full name, with its prefix.
    package var name: [UInt8]
    /// The value.
    package var value: [UInt8]

    /// The attribute with that name and value.
    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}
