// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Whether whoever serves a mount answers.
package enum Liveness: Equatable, Sendable {
    /// statfs returned.
    case alive
    /// statfs failed with this errno; ENOTCONN is that of a FUSE mount whose process is gone.
    case failed(Int32)
    /// statfs has not returned in time.
    case silent

    /// Asks with statfs(2): stat and opendir may be answered by the kernel's caches, on a mount
    /// whose process died long ago.
    ///
    /// The call is made by a thread of its own, which is left behind if it never returns.
    ///
    /// - Parameters:
    ///   - path: the mount point.
    ///   - milliseconds: how long to wait for the answer.
    /// - Returns: what was found.
    /// - Throws: `SystemError` if there is no thread or descriptor to ask with.
    package static func probe(
        _ path: String,
        milliseconds: Int32
    ) throws(SystemError) -> Liveness {
        let answer = try Answer()
        let thread = try WorkerThread(name: "statfs") {
            var status = statfs()
            let result = unsafe clinux_statfs(path, &status)
            answer.give(result == 0 ? 0 : errno)
        }
        thread.detach()
        return try answer.wait(milliseconds: milliseconds)
    }

    /// Kept alive by the thread, however late it answers.
    private final class Answer: Sendable {
        private let code = Monitor<Int32?>(nil)
        private let event: EventFlag

        init() throws(SystemError) {
            event = try EventFlag()
        }

        func give(_ code: Int32) {
            self.code.update { $0 = code }
            event.raise()
        }

        func wait(milliseconds: Int32) throws(SystemError) -> Liveness {
            guard try waitForInput(on: [event.number], milliseconds: milliseconds) != nil else {
                return .silent
            }
            let code = self.code.update { $0 }
            return code == 0 ? .alive : .failed(code ?? 0)
        }
    }
}
