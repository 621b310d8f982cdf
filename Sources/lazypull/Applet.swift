// SPDX-License-Identifier: Apache-2.0

internal import Arguments

/// One applet: its command line and its work.
struct Applet: Sendable {
    /// The command line; its name is the applet's.
    var syntax: Syntax
    /// Does the work and says how the process is to end; what it throws is turned into a message
    /// and an exit code by `Failure`.
    var run: @Sendable (ParsedArguments) throws -> ExitCode

    /// The applet's name.
    var name: String { syntax.name }
}
