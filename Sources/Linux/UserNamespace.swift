// SPDX-License-Identifier: Apache-2.0

import CLinux

/// The user namespace of the process (user_namespaces(7)).
package enum UserNamespace {
    /// Whether it is the first one, which has all users; so where /proc does not say.
    package static var isInitial: Bool {
        guard let map = try? FileSystem.contents(of: "/proc/self/uid_map", limit: 1 << 16) else {
            return true
        }
        let fields = map.split { $0 == 0x20 || $0 == 0x0a }.map {
            String(decoding: $0, as: UTF8.self)
        }
        return fields == ["0", "0", "4294967295"]
    }
}

extension FileSystem {
    /// Whether a path is on a tmpfs; false where the kernel does not say.
    package static func isTemporary(_ path: String) -> Bool {
        var status = statfs()
        guard unsafe clinux_statfs(path, &status) == 0 else { return false }
        return Int64(status.f_type) == Int64(TMPFS_MAGIC)
    }
}
