// SPDX-License-Identifier: Apache-2.0

/// How much an event matters; the raw value is the journal's priority (syslog(3)).
package enum LogLevel: UInt8, Sendable, Comparable, CaseIterable {
    /// Something asked for did not happen: a read answered with EIO, an image refused.
    case error = 3
    /// Something went wrong and was mended, or will be tried again.
    case warning = 4
    /// What a person who looks after the machine wants to find later.
    case info = 6
    /// What helps to find a fault; may be many lines per read.
    case debug = 7

    /// The level's name, as `--log-level` takes it and a line shows it.
    package var name: String {
        switch self {
        case .error: "error"
        case .warning: "warning"
        case .info: "info"
        case .debug: "debug"
        }
    }

    /// The level of that name, or nil if there is none.
    package init?(name: String) {
        guard let level = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    /// Less talkative levels come first: `error < debug`.
    package static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}
