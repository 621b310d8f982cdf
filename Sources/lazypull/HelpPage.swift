// SPDX-License-Identifier: Apache-2.0

internal import Arguments

/// The text of `lazypull --help`.
enum HelpPage {
    /// Usage, applets, options and exit codes.
    static var text: String {
        let name = Program.name
        let usages = [
            "\(name) APPLET [ARGUMENT]...",
            "\(name) help [APPLET]",
            "\(name) --list",
            "\(name) --install [-s] DIR",
            "\(name) --completions bash",
            "\(name) --version",
        ]
        var text = "Usage: \(usages.joined(separator: "\n   or: "))\n\n"
        text += HelpText.wrapped(
            "Starts containers from big images without pulling them first. Called by the name"
                + " \(name)-APPLET, it is that applet.",
            indentation: 0
        )
        text += "\nApplets:\n"
        text += HelpText.table(Program.applets.map { ($0.name, "\($0.syntax.summary).") })
        text += "\nOptions:\n"
        text += HelpText.table([
            ("--list", "Print the applets' names, one a line."),
            (
                "--install [-s] DIR",
                "Link each applet into DIR as \(name)-APPLET: hard links, or symbolic ones with -s."
            ),
            ("--completions bash", "Print completions, to be sourced by bash."),
            ("--version", "Print the version."),
            ("--help", "Print this help and exit."),
        ])
        text += "\nExit codes:\n"
        text += HelpText.table(ExitCode.allCases.map { (String($0.rawValue), $0.meaning) })
        return text
    }
}
