// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What the kernel lets the process have.
package enum ResourceLimits {
    /// Raises the number of open files to what the process may set it to by itself.
    ///
    /// The usual soft limit of 1024 is for programs that use select(2).
    ///
    /// - Throws: `SystemError`.
    package static func raiseOpenFiles() throws(SystemError) {
        var limit = rlimit()
        try retryingOnInterrupt("getrlimit", "RLIMIT_NOFILE") {
            unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        limit.rlim_cur = limit.rlim_max
        try retryingOnInterrupt("setrlimit", "RLIMIT_NOFILE") {
            unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
    }
    /// How many files the process may have open.
    ///
    /// - Throws: `SystemError`.
    package static func openFiles() throws(SystemError) -> Int {
        var limit = rlimit()
        try retryingOnInterrupt("getrlimit", "RLIMIT_NOFILE") {
            unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return Int(clamping: limit.rlim_cur)
    }
}
