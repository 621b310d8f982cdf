// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux

/// Mounts of ordinary users: made and ended by fusermount3, which libfuse installs setuid root.
enum UserMount {
    private static let program = "fusermount3"

    /// Mounts a FUSE file system that nobody serves yet.
    ///
    /// - Parameters:
    ///   - path: the directory, which the user owns.
    ///   - source: what the mount table shows as mounted.
    ///   - restrictions: what is forbidden beside writing, devices and setuid programs.
    ///   - maximumRead: the most bytes that one read asks for.
    /// - Returns: the descriptor of /dev/fuse.
    /// - Throws: `SystemError`: EPERM where fusermount3 refused, and has said why; ENOENT without
    ///   fusermount3.
    static func mount(
        at path: String,
        source: String,
        restrictions: MountRestrictions,
        maximumRead: Int
    ) throws(SystemError) -> OwnedDescriptor {
        let passage = try DescriptorPassage()
        let options =
            "ro,\(restrictions.contains(.noPrograms) ? "noexec," : "")default_permissions,"
            + "max_read=\(maximumRead),subtype=lazypull,fsname=" + escaped(source)
        let status = try ChildProcess.run(
            [program, "-o", options, "--", path],
            variable: "_FUSE_COMMFD=3",
            descriptor: passage.sender
        )
        guard status == 0 else { throw SystemError(program, path, code: EPERM) }
        return try passage.receive()
    }

    /// Ends a mount.
    ///
    /// - Throws: `SystemError`: EBUSY where fusermount3 refused, and has said why.
    static func unmount(at path: String, lazily: Bool) throws(SystemError) {
        let words = [program, "-u", "-q"] + (lazily ? ["-z"] : []) + ["--", path]
        guard try ChildProcess.run(words) == 0 else {
            throw SystemError(program, path, code: EBUSY)
        }
    }

    /// A value in a list that commas part.
    private static func escaped(_ text: String) -> String {
        String(text.flatMap { $0 == "," || $0 == "\\" ? ["\\", $0] : [$0] })
    }
}
