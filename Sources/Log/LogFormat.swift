// SPDX-License-Identifier: Apache-2.0

/// What a line of the log looks like; the journal is told fields and not lines.
package enum LogFormat: UInt8, Sendable, CaseIterable {
    /// For people: `time level message name=value …`.
    case text
    /// For programs: one JSON object (RFC 8259) a line.
    case json

    /// The format's name, as `--log-format` takes it.
    package var name: String {
        switch self {
        case .text: "text"
        case .json: "json"
        }
    }

    /// The format of that name, or nil if there is none.
    package init?(name: String) {
        guard let format = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = format
    }

    /// An event's line, ended by the only newline in it.
    func line(
        _ level: LogLevel,
        _ message: String,
        _ fields: LogFields,
        at time: Timestamp
    ) -> [UInt8] {
        switch self {
        case .text: LogLine.text(level, message, fields, at: time)
        case .json: LogLine.json(level, message, fields, at: time)
        }
    }
}
