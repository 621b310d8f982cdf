// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The mounts that a process sees, as /proc/self/mountinfo lists them (proc_pid_mountinfo(5)).
package struct MountTable: Sendable {
    /// One mount.
    package struct Entry: Equatable, Sendable {
        /// The mount's id.
        package var id: UInt64
        /// The device of its files, `major:minor`: also the name of its bdi in /sys/class/bdi.
        package var device: String
        /// Where it is mounted, bytes as in the file system.
        package var mountPoint: [UInt8]
        /// The type, with its subtype: `fuse.lazypull`.
        package var type: String
        /// What is mounted, in the type's own words.
        package var source: [UInt8]

        /// The device as stat(2) gives it; nil if `device` is in another form.
        package var deviceNumber: UInt64? {
            let parts = device.split(separator: ":").map { UInt32($0) }
            guard parts.count == 2, let major = parts[0], let minor = parts[1] else { return nil }
            return UInt64(clinux_makedev(major, minor))
        }
    }

    /// The mounts, in the kernel's order: of two at one place, the later one is on top.
    package var entries: [Entry]

    /// The mounts of the calling process, as they are now.
    ///
    /// - Throws: `SystemError` if /proc is not mounted.
    package init() throws(SystemError) {
        self.init(mountinfo: try FileSystem.contents(of: "/proc/self/mountinfo"))
    }

    /// The mounts that a mountinfo text lists; lines in another form are left out.
    package init(mountinfo: [UInt8]) {
        entries = mountinfo.split(separator: UInt8(ascii: "\n")).compactMap(Self.entry)
    }

    /// The mount whose files are seen at a place.
    ///
    /// - Parameter path: the place, canonical.
    /// - Returns: the mount; nil if nothing is mounted right there.
    package func topmost(at path: String) -> Entry? {
        let bytes = Array(path.utf8)
        return entries.last { $0.mountPoint == bytes }
    }

    private static func entry(_ line: ArraySlice<UInt8>) -> Entry? {
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        // Optional fields end with a lone hyphen; type and source come after it.
        guard fields.count >= 10, let id = UInt64(text(fields[0])),
            let hyphen = fields[6...].firstIndex(where: { $0.elementsEqual([0x2d]) }),
            hyphen + 2 < fields.count
        else { return nil }
        return Entry(
            id: id,
            device: text(fields[2]),
            mountPoint: unescaped(fields[4]),
            type: text(fields[hyphen + 1]),
            source: unescaped(fields[hyphen + 2])
        )
    }

    private static func text(_ field: ArraySlice<UInt8>) -> String {
        String(decoding: field, as: UTF8.self)
    }

    /// Undoes the kernel's `\ooo` for blanks, newlines and backslashes.
    private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(text(digits), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}

/// What cannot be done through a mount; the raw values are mount(2)'s flags.
package struct MountRestrictions: OptionSet, Sendable {
    package let rawValue: UInt

    package init(rawValue: UInt) {
        self.rawValue = rawValue
    }

    /// Nothing can be written (MS_RDONLY).
    package static let readOnly = MountRestrictions(rawValue: UInt(MS_RDONLY))
    /// Programs run without their setuid and setgid bits and capabilities (MS_NOSUID).
    package static let noSetUserID = MountRestrictions(rawValue: UInt(MS_NOSUID))
    /// Device nodes cannot be opened (MS_NODEV).
    package static let noDevices = MountRestrictions(rawValue: UInt(MS_NODEV))
    /// Nothing can be run (MS_NOEXEC).
    package static let noPrograms = MountRestrictions(rawValue: UInt(MS_NOEXEC))
}

/// Attaches a file system (mount(2)).
///
/// - Parameters:
///   - source: what is mounted, as mountinfo shows it.
///   - path: the directory.
///   - type: the file system's type.
///   - restrictions: what cannot be done through the mount.
///   - options: the type's own options, joined with commas.
/// - Throws: `SystemError` naming the directory.
package func mountFileSystem(
    source: String,
    at path: String,
    type: String,
    restrictions: MountRestrictions,
    options: String
) throws(SystemError) {
    let flags = restrictions.rawValue
    try retryingOnInterrupt("mount", path) {
        unsafe options.withCString { unsafe mount(source, path, type, flags, $0) }
    }
}

/// Detaches what is mounted at a directory (umount2(2)).
///
/// - Parameters:
///   - path: the directory; a symbolic link is not followed.
///   - lazily: take it out of sight now, even if it is in use, and end it with its last user.
/// - Throws: `SystemError`: EBUSY if it is in use, EINVAL if nothing is mounted there.
package func unmountFileSystem(at path: String, lazily: Bool) throws(SystemError) {
    let flags = Int32(UMOUNT_NOFOLLOW) | (lazily ? Int32(MNT_DETACH) : 0)
    try retryingOnInterrupt("umount2", path) { unsafe umount2(path, flags) }
}
