// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A directory that is held open, in which names are made and looked up.
///
/// Names are bytes and single: no call follows a link, and none leaves the directory.
package struct OpenDirectory: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// Opens a directory.
    ///
    /// - Parameter path: its path, in which links are followed.
    /// - Throws: `SystemError`.
    package init(_ path: String) throws(SystemError) {
        descriptor = try OwnedDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    }

    private init(owning descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// The directory itself, to set its attributes.
    package var attributes: AttributeTarget { .open(descriptor.number) }

    /// Opens a directory in this one.
    ///
    /// - Parameter name: its name.
    /// - Returns: the directory.
    /// - Throws: `SystemError`; ELOOP or ENOTDIR if something else bears the name.
    package func directory(_ name: [UInt8]) throws(SystemError) -> OpenDirectory {
        OpenDirectory(
            owning: OwnedDescriptor(
                owning: try call("openat", name) { name in
                    unsafe clinux_openat(
                        descriptor.number,
                        name,
                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                        0
                    )
                }
            )
        )
    }

    /// Makes a directory that only its owner may enter.
    ///
    /// - Throws: `SystemError`; EEXIST if the name is taken.
    package func makeDirectory(_ name: [UInt8]) throws(SystemError) {
        try call("mkdirat", name) { unsafe mkdirat(descriptor.number, $0, 0o700) }
    }

    /// Makes a regular file that only its owner may open.
    ///
    /// - Returns: the file, open for writing.
    /// - Throws: `SystemError`; EEXIST if the name is taken.
    package func makeFile(_ name: [UInt8]) throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(
            owning: try call("openat", name) { name in
                unsafe clinux_openat(
                    descriptor.number,
                    name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0o600
                )
            }
        )
    }

    /// Makes a symbolic link.
    ///
    /// - Parameters:
    ///   - name: its name.
    ///   - target: what it says; not looked at.
    /// - Throws: `SystemError`; EEXIST if the name is taken.
    package func makeSymbolicLink(_ name: [UInt8], to target: [UInt8]) throws(SystemError) {
        let target = terminated(target)
        try call("symlinkat", name) { unsafe symlinkat(target, descriptor.number, $0) }
    }

    /// Makes a device node, a pipe or a socket.
    ///
    /// - Parameters:
    ///   - name: its name.
    ///   - type: the type bits of its mode; its permissions are none.
    ///   - major: of a device, its driver's number.
    ///   - minor: of a device, its own number.
    /// - Throws: `SystemError`; EEXIST if the name is taken.
    package func makeNode(
        _ name: [UInt8],
        type: UInt16,
        major: UInt32 = 0,
        minor: UInt32 = 0
    ) throws(SystemError) {
        let device = clinux_makedev(major, minor)
        try call("mknodat", name) {
            unsafe mknodat(descriptor.number, $0, mode_t(type), device)
        }
    }

    /// Gives a file a further name, in this directory.
    ///
    /// - Parameters:
    ///   - name: the new name.
    ///   - other: its name in `directory`; of a link, the link itself gets the new name.
    ///   - directory: where it has that name.
    /// - Throws: `SystemError`; EEXIST if the new name is taken.
    package func makeHardLink(
        _ name: [UInt8],
        to other: [UInt8],
        in directory: borrowing OpenDirectory
    ) throws(SystemError) {
        let other = terminated(other)
        let from = directory.descriptor.number
        try call("linkat", name) { unsafe linkat(from, other, descriptor.number, $0, 0) }
    }

    /// What bears the name, to set its attributes; never what a link points to.
    package func entry(_ name: [UInt8]) -> AttributeTarget {
        .entry(directory: descriptor.number, name: name)
    }

    @discardableResult
    private func call(
        _ function: String,
        _ name: [UInt8],
        _ body: ([CChar]) -> Int32
    ) throws(SystemError) -> Int32 {
        let text = terminated(name)
        return try retryingOnInterrupt(function, String(decoding: name, as: UTF8.self)) {
            body(text)
        }
    }
}

/// Whose attributes are set: an open file, or a name in an open directory.
///
/// Valid while the file or the directory is open.
package enum AttributeTarget: Sendable {
    case open(Int32)
    /// The name is not followed if it is a link's.
    case entry(directory: Int32, name: [UInt8])

    /// Sets the owner; the kernel drops set-user-ID bits and capabilities.
    ///
    /// - Throws: `SystemError`.
    package func setOwner(user: UInt32, group: UInt32) throws(SystemError) {
        try call("chown") { number, name in
            unsafe name.isEmpty
                ? fchown(number, user, group)
                : fchownat(number, name, user, group, AT_SYMLINK_NOFOLLOW)
        }
    }

    /// Sets the permissions; not of links, which have none.
    ///
    /// - Throws: `SystemError`.
    package func setPermissions(_ mode: UInt16) throws(SystemError) {
        try call("chmod") { number, name in
            unsafe name.isEmpty
                ? fchmod(number, mode_t(mode)) : fchmodat(number, name, mode_t(mode), 0)
        }
    }

    /// Sets the time of the last change of the content, and that of the last access with it.
    ///
    /// - Throws: `SystemError`.
    package func setModificationTime(
        seconds: Int64,
        nanoseconds: UInt32
    ) throws(SystemError) {
        let time = timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
        let times = [time, time]
        try call("utimensat") { number, name in
            unsafe name.isEmpty
                ? futimens(number, times) : utimensat(number, name, times, AT_SYMLINK_NOFOLLOW)
        }
    }

    /// Sets an extended attribute.
    ///
    /// - Throws: `SystemError`: EOPNOTSUPP where the file system has none, EPERM where the kernel
    ///   allows none, as `user.` on links and devices.
    package func setXattr(_ attribute: [UInt8], _ value: [UInt8]) throws(SystemError) {
        let attribute = terminated(attribute)
        try call("setxattr") { number, name in
            guard !name.isEmpty else {
                return unsafe fsetxattr(number, attribute, value, value.count, 0)
            }
            // There is no lsetxattrat before Linux 6.13; the link to the directory is the kernel's.
            let path = "/proc/self/fd/\(number)/".utf8.map { CChar(bitPattern: $0) } + name
            return unsafe lsetxattr(path, attribute, value, value.count, 0)
        }
    }

    private func call(
        _ function: String,
        _ body: (Int32, [CChar]) -> Int32
    ) throws(SystemError) {
        switch self {
        case .open(let number):
            try retryingOnInterrupt(function, "") { body(number, []) }
        case .entry(let directory, let name):
            let text = terminated(name)
            try retryingOnInterrupt(function, "") { body(directory, text) }
        }
    }
}

/// A name as C takes it.
private func terminated(_ name: [UInt8]) -> [CChar] {
    name.map { CChar(bitPattern: $0) } + [0]
}

extension FileSystem {
    /// Makes a directory, or takes one that is empty.
    ///
    /// - Parameter path: the directory; those above it must exist.
    /// - Returns: the directory, open.
    /// - Throws: `SystemError`; ENOTEMPTY if something is in it.
    package static func makeOrTakeEmptyDirectory(
        _ path: String
    ) throws(SystemError) -> OpenDirectory {
        if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
            throw SystemError("mkdir", path, code: errno)
        }
        guard let directory = unsafe opendir(path) else {
            throw SystemError("opendir", path, code: errno)
        }
        defer { _ = unsafe closedir(directory) }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe Array(bytes.prefix { $0 != 0 })
            }
            guard name == [0x2e] || name == [0x2e, 0x2e] else {
                throw SystemError("unpack into", path, code: ENOTEMPTY)
            }
        }
        return try OpenDirectory(path)
    }
}
