// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The process this code runs in.
package enum CurrentProcess {
    /// Whether the process runs with root's rights.
    package static var isRoot: Bool { geteuid() == 0 }

    /// How many processors the process may run on, at least 1: its affinity, which `taskset` and
    /// cpusets set, not the machine's count.
    package static var processorCount: Int {
        let allowed = Int(clinux_allowed_processors())
        return allowed > 0 ? allowed : max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    /// The path of the running executable, symbolic links resolved.
    ///
    /// - Returns: an absolute path.
    /// - Throws: `SystemError` where /proc is not mounted.
    package static func executablePath() throws(SystemError) -> String {
        try FileSystem.target(ofSymbolicLink: "/proc/self/exe")
    }

    /// Makes a write to a pipe nobody reads an error of that write, not the death of the process.
    package static func ignorePipeSignal() {
        _ = signal(SIGPIPE, SIG_IGN)
    }

    /// Ends the process, after what the C library still holds of its output is written.
    ///
    /// Exit handlers are not run: OpenSSL's would free what a thread that still closes its
    /// connections is using. The kernel takes everything back anyway.
    ///
    /// - Parameter code: the exit code, 0...255.
    package static func exit(_ code: Int32) -> Never {
        _ = fflush(nil)
        _exit(code)
    }

    /// Nanoseconds of a clock that never jumps, from a start of no meaning.
    package static var monotonicNanoseconds: UInt64 {
        var now = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(clamping: now.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: now.tv_nsec)
    }

    /// Seconds since 1970, UTC, by a clock that people set.
    package static var secondsSince1970: Int64 {
        var now = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec)
    }

    /// Nanoseconds since 1970, UTC, by a clock that people set.
    package static var nanosecondsSince1970: Int64 {
        var now = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) &* 1_000_000_000 &+ Int64(now.tv_nsec)
    }

    /// Waits.
    ///
    /// - Parameter nanoseconds: how long.
    package static func sleep(nanoseconds: UInt64) {
        let end = monotonicNanoseconds.addingReportingOverflow(nanoseconds).partialValue
        var moment = timespec(
            tv_sec: Int(clamping: end / 1_000_000_000),
            tv_nsec: Int(end % 1_000_000_000)
        )
        while unsafe clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &moment, nil) == EINTR {}
    }

    /// The value of an environment variable, or nil if it is not set.
    package static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}

/// One of the three streams a process is born with.
package enum StandardStream: Int32, Sendable {
    /// Results.
    case output = 1
    /// Messages and progress.
    case error = 2

    /// Whether a person looks at it.
    package var isTerminal: Bool { isatty(rawValue) == 1 }

    /// The terminal's width in columns; 80 where it does not say.
    package var columns: Int {
        let columns = Int(clinux_ioctl_winsize_columns(rawValue))
        return columns > 0 ? columns : 80
    }

    /// Writes the whole text.
    ///
    /// - Parameter text: the text.
    /// - Throws: `SystemError` if part of it could not be written: a full disk, a closed pipe.
    package func write(_ text: String) throws(SystemError) {
        try write(Array(text.utf8))
    }

    /// Writes all bytes.
    ///
    /// - Parameter bytes: the bytes.
    /// - Throws: `SystemError` if part of them could not be written.
    package func write(_ bytes: [UInt8]) throws(SystemError) {
        let name = self == .output ? "standard output" : "standard error"
        var done = 0
        while done < bytes.count {
            done += try retryingOnInterrupt("write", name) {
                unsafe bytes.withUnsafeBytes { buffer in
                    let start = unsafe buffer.baseAddress?.advanced(by: done)
                    return unsafe Glibc.write(rawValue, start, buffer.count - done)
                }
            }
        }
    }
}
