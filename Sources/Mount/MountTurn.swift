// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import Log

/// The right to look what is at a mount point and then to change it, which one process has at a
/// time.
///
/// Without it two processes find the same stale mount dead, and the slower one takes the new mount
/// of the faster one away; or both find nothing, and mount one over the other.
struct MountTurn: ~Copyable {
    private let file: OwnedDescriptor?

    /// Waits until it is this process's turn; where there is no lock to be had, all go at once.
    ///
    /// - Parameters:
    ///   - directory: the runtime directory, common to all processes, made if missing; nil for
    ///     nowhere.
    ///   - log: told why there is no lock.
    init(in directory: String?, _ log: Logger) {
        guard let directory else {
            file = nil
            return
        }
        do throws(SystemError) {
            file = try Self.locked(directory)
        } catch {
            log.warning("mounting without a lock", ["cause": error])
            file = nil
        }
    }

    private static func locked(_ directory: String) throws(SystemError) -> OwnedDescriptor {
        try FileSystem.makeDirectories(directory, mode: 0o700)
        let path = directory + "/mount.lock"
        let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        try file.lock(path)
        return file
    }

    /// Ends the turn, which lasts until here.
    consuming func end() {}
}
