// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A moment as the log prints it.
struct Timestamp {
    /// Seconds since 1970, UTC.
    var seconds: Int64
    /// Milliseconds into the second, 0...999.
    var milliseconds: Int

    /// A given moment.
    init(seconds: Int64, milliseconds: Int) {
        self.seconds = seconds
        self.milliseconds = milliseconds
    }

    /// Now.
    init() {
        var now = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
        self.init(seconds: Int64(now.tv_sec), milliseconds: now.tv_nsec / 1_000_000)
    }

    /// UTC in RFC 3339's form, with milliseconds: `2026-01-31T09:05:07.042Z`.
    var text: String {
        var time = time_t(seconds)
        var fields = unsafe tm()
        unsafe gmtime_r(&time, &fields)
        let date = unsafe [
            String(fields.tm_year + 1900), padded(fields.tm_mon + 1), padded(fields.tm_mday),
        ]
        let clock = unsafe [padded(fields.tm_hour), padded(fields.tm_min), padded(fields.tm_sec)]
        let fraction = String(String(1000 + milliseconds).dropFirst())
        return "\(date.joined(separator: "-"))T\(clock.joined(separator: ":")).\(fraction)Z"
    }

    private func padded(_ number: Int32) -> String {
        number < 10 ? "0\(number)" : String(number)
    }
}
