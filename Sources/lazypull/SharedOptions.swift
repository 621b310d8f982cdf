// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Linux
internal import OCI

/// Options that several applets have, each declared here once.
enum SharedOptions {
    /// How many threads work.
    static let threads = Option(
        "threads",
        short: "t",
        value: OptionValue("N", .integer(1...1024), defaultText: "one per processor"),
        help: "Work with N threads."
    )

    /// No progress.
    static let quiet = Option("quiet", short: "q", help: "Print no progress, only errors.")

    /// The form of the report.
    static let output = Option(
        "output",
        short: "o",
        value: OptionValue("FORMAT", .choice(["text", "json"]), fallback: "text"),
        help: "Print the report on standard output in this form."
    )

    /// The transports an image can be named by.
    static let image = ValueKind.image(transports: ImageName.transports)

    /// How many threads the command line asks for; without a word, one per processor.
    static func threadCount(_ arguments: ParsedArguments) -> Int {
        arguments.integer(threads) ?? CurrentProcess.processorCount
    }
}
