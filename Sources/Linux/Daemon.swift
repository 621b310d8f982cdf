// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A process that goes on in the background once it is ready, as seen from both sides of the fork.
package enum Daemon: ~Copyable {
    /// The process that was started; the shell waits for it. It learns how the start went.
    case starter(StatusReader)
    /// The process in the background; it says when it is ready.
    case background(ReadinessPipe)

    /// Forks.
    ///
    /// The process must have one thread: of several, only the calling one would go on, and locks
    /// of the others would stay locked.
    ///
    /// - Returns: which side the caller is now.
    /// - Throws: `SystemError` if there is no process or pipe left.
    package static func fork() throws(SystemError) -> Daemon {
        var ends: [Int32] = [-1, -1]
        try retryingOnInterrupt("pipe", "") { unsafe pipe(&ends) }
        let reader = OwnedDescriptor(owning: ends[0])
        let writer = OwnedDescriptor(owning: ends[1])
        _ = clinux_set_close_on_exec(ends[0])
        _ = clinux_set_close_on_exec(ends[1])
        let process = try retryingOnInterrupt("fork", "") { clinux_fork() }
        if process == 0 {
            // A session of its own: no signal of the terminal reaches it any more.
            _ = setsid()
            return .background(ReadinessPipe(writer))
        }
        return .starter(StatusReader(process: process, pipe: reader))
    }
}

/// The starter's view of a process that is getting ready in the background.
package struct StatusReader: ~Copyable {
    private let process: pid_t
    private let pipe: OwnedDescriptor

    init(process: pid_t, pipe: consuming OwnedDescriptor) {
        self.process = process
        self.pipe = pipe
    }

    /// Waits until the process in the background is ready or has ended.
    ///
    /// - Returns: 0 if it is ready; else the status it exited with, never 0 (255 if a signal ended
    ///   it). It has said itself what went wrong.
    /// - Throws: `SystemError`.
    package consuming func exitStatus() throws(SystemError) -> Int32 {
        var byte: UInt8 = 0
        let count = try retryingOnInterrupt("read", "status pipe") {
            unsafe read(pipe.number, &byte, 1)
        }
        guard count == 0 else { return 0 }
        var status: Int32 = 0
        try retryingOnInterrupt("waitpid", "process \(process)") {
            unsafe waitpid(process, &status, 0)
        }
        guard clinux_exited(status) != 0 else { return 255 }
        return clinux_exit_status(status) == 0 ? 255 : clinux_exit_status(status)
    }
}

/// How a process in the background tells its starter that it is ready.
package struct ReadinessPipe: ~Copyable {
    private let pipe: OwnedDescriptor

    init(_ pipe: consuming OwnedDescriptor) {
        self.pipe = pipe
    }

    /// Lets the starter go: leaves terminal and working directory behind, and tells it.
    ///
    /// Not called, because of an error: the starter learns the exit status instead.
    ///
    /// - Parameter keepingError: whether standard error stays where it is.
    /// - Throws: `SystemError`.
    package consuming func ready(keepingError: Bool) throws(SystemError) {
        let nowhere = try OwnedDescriptor.open("/dev/null", O_RDWR)
        for number in [STDIN_FILENO, STDOUT_FILENO] + (keepingError ? [] : [STDERR_FILENO]) {
            try retryingOnInterrupt("dup2", "/dev/null") { dup2(nowhere.number, number) }
        }
        try retryingOnInterrupt("chdir", "/") { unsafe chdir("/") }
        let byte: [UInt8] = [1]
        // Nobody may be listening any more: a starter that was killed is no fault of ours, and
        // SIGPIPE is not delivered to a process that ignores it.
        try? unsafe pipe.write(byte.span.bytes, "status pipe")
    }
}
