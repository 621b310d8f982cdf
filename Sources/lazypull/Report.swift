// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Linux
internal import OCI

/// What an applet has to say at its end.
enum Report {
    /// Prints it on standard output: as text, as JSON with `--output json`, not at all with
    /// `--quiet` alone.
    ///
    /// - Parameters:
    ///   - arguments: the command line, with `SharedOptions.output` and `.quiet` among its options.
    ///   - isResult: whether the text is what was asked for rather than a summary: then `--quiet`
    ///     does not hide it.
    ///   - text: the lines, each ended.
    ///   - json: the same for programs.
    /// - Throws: an error if it cannot be written.
    static func print(
        _ arguments: ParsedArguments,
        isResult: Bool = false,
        text: @autoclosure () -> String,
        json: @autoclosure () -> JSONValue
    ) throws {
        if arguments.text(SharedOptions.output) == "json" {
            try StandardStream.output.write(json().serialized() + [UInt8(ascii: "\n")])
        } else if isResult || !arguments.has(SharedOptions.quiet) {
            try StandardStream.output.write(text())
        }
    }
}
