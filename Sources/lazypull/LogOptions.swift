// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Log

/// What is logged, and how, by the applets that stay.
enum LogOptions {
    /// How much.
    static let level = Option(
        "log-level",
        value: OptionValue(
            "LEVEL",
            .choice(LogLevel.allCases.map(\.name)),
            fallback: LogLevel.info.name
        ),
        help: "Log events that matter at least this much."
    )
    /// In which form.
    static let format = Option(
        "log-format",
        value: OptionValue(
            "FORMAT",
            .choice(LogFormat.allCases.map(\.name)),
            fallback: LogFormat.text.name
        ),
        help: """
            Write each event as a line of text or as a JSON object; the journal is given fields in
            any case.
            """
    )

    /// The level that the command line, or the configuration, asks for.
    static func level(_ arguments: ParsedArguments) -> LogLevel {
        arguments.text(level).flatMap(LogLevel.init(name:)) ?? .info
    }

    /// The format that the command line, or the configuration, asks for.
    static func format(_ arguments: ParsedArguments) -> LogFormat {
        arguments.text(format).flatMap(LogFormat.init(name:)) ?? .text
    }
}
