// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Linux

/// The multi-call program: finds the applet that was called and runs it.
enum Program {
    /// The program's own name.
    static let name = "lazypull"

    /// The version, as in CHANGELOG.md.
    static let version = "0.1.0"

    /// The applets, in the order of help; what is not here does not exist.
    static let applets: [Applet] = [
        ConvertCommand.applet,
        PushCommand.applet,
        CheckCommand.applet,
        MountCommand.applet,
        UnpackCommand.applet,
        ServeSnapshotterCommand.applet,
        StatusCommand.applet,
        GCCommand.applet,
    ]

    /// What stands in an applet's place to ask the program itself for something.
    private static let ownOptions = [
        "--list", "--install", "--completions", "--version", "--help",
    ]

    /// Runs what the command line asks for.
    ///
    /// - Parameters:
    ///   - path: argv[0]: `lazypull-convert` calls the applet `convert`.
    ///   - arguments: the words that follow.
    /// - Returns: the exit code; messages have been printed.
    static func run(called path: String, _ arguments: [String]) -> ExitCode {
        let called = path.split(separator: "/").last.map(String.init) ?? name
        if called == MountHelper.name {
            return report(as: called) {
                guard let words = try MountHelper.translated(arguments) else { return .done }
                return try run(applet: MountCommand.applet.name, words)
            }
        }
        let prefix = "\(name)-"
        if called.hasPrefix(prefix) {
            let applet = String(called.dropFirst(prefix.count))
            return report(as: name) { try run(applet: applet, arguments) }
        }
        guard let first = arguments.first else {
            return report(as: name) {
                throw UsageError("which applet? `\(name) --list` names them")
            }
        }
        let rest = Array(arguments.dropFirst())
        if first.hasPrefix("-") || first == "help" {
            return report(as: name) { try runOwn(first, rest) }
        }
        return report(as: name) { try run(applet: first, rest) }
    }

    /// Runs an applet.
    private static func run(applet name: String, _ arguments: [String]) throws -> ExitCode {
        let applet = try find(name)
        let program = "\(Self.name) \(name)"
        return report(as: program) {
            switch try applet.syntax.parse(arguments) {
            case .help:
                try StandardStream.output.write(applet.syntax.help(program: program))
                return .done
            case .run(let parsed):
                return try applet.run(parsed)
            }
        }
    }

    /// Answers what is asked of the program itself.
    private static func runOwn(_ word: String, _ arguments: [String]) throws -> ExitCode {
        switch word {
        case "--list":
            try expect(0...0, of: arguments, "--list")
            try printed(applets.map { "\($0.name)\n" }.joined())
        case "--version", "-V":
            try expect(0...0, of: arguments, "--version")
            try printed("\(name) \(version)\n")
        case "--help", "-h", "help":
            try expect(0...1, of: arguments, "help [APPLET]")
            guard let applet = arguments.first else {
                try printed(HelpPage.text)
                break
            }
            let found = try find(applet)
            try printed(found.syntax.help(program: "\(name) \(applet)"))
        case "--completions":
            guard arguments == ["bash"] else {
                throw UsageError("completions exist for bash; usage: \(name) --completions bash")
            }
            try printed(
                BashCompletions.script(
                    program: name,
                    words: ["help"] + ownOptions,
                    syntaxes: applets.map(\.syntax)
                )
            )
        case HolderProcess.option:
            return try HolderProcess.run()
        case "--install":
            try AppletLinks.install(arguments)
        default:
            let hint = NearestName.find(word, in: ownOptions).map { "; did you mean '\($0)'?" }
            throw UsageError("unknown option '\(word)'\(hint ?? "")")
        }
        return .done
    }

    /// The applet of that name.
    private static func find(_ applet: String) throws(UsageError) -> Applet {
        if let found = applets.first(where: { $0.name == applet }) { return found }
        let hint =
            NearestName.find(applet, in: applets.map(\.name)).map { "did you mean '\($0)'?" }
            ?? "`\(name) --list` names them"
        throw UsageError("there is no applet '\(applet)'; \(hint)")
    }

    private static func expect(
        _ counts: ClosedRange<Int>,
        of arguments: [String],
        _ usage: String
    ) throws(UsageError) {
        guard counts.contains(arguments.count) else {
            let extra = arguments[counts.upperBound]
            throw UsageError("unexpected argument '\(extra)'; usage: \(name) \(usage)")
        }
    }

    private static func printed(_ text: String) throws(SystemError) {
        try StandardStream.output.write(text)
    }

    /// Runs the body; what it throws is printed, and becomes the exit code.
    private static func report(as program: String, _ body: () throws -> ExitCode) -> ExitCode {
        do {
            return try body()
        } catch {
            let failure = Failure(error)
            var message = "\(program): \(failure.message)\n"
            if failure.code == .usage { message += "Try '\(program) --help'.\n" }
            // Where even this fails, the exit code is all that is left to say.
            try? StandardStream.error.write(message)
            return failure.code
        }
    }
}
