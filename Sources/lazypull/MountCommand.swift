// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Configuration
internal import HTTP
internal import Linux
internal import Log
internal import Mount

/// `lazypull mount`: mounts an image; bytes arrive on first read.
enum MountCommand {
    private static let cacheOfRoot = "/var/lib/lazypull/cache"
    private static let foreground = Option(
        "foreground",
        short: "f",
        help: "Stay in the foreground instead of becoming a daemon once the mount answers."
    )
    private static let cacheDirectory = Option(
        "cache-dir",
        value: OptionValue(
            "DIR",
            .directory,
            defaultText: "\(cacheOfRoot); for ordinary users lazypull in XDG_CACHE_HOME or ~/.cache"
        ),
        help: "Keep what is fetched in DIR, which no other process may use meanwhile."
    )
    private static let logFile = Option(
        "log-file",
        value: OptionValue(
            "FILE",
            .file,
            defaultText: """
                standard error in the foreground, else the journal, or where there is none mount.log
                in the cache directory
                """
        ),
        help: "Append the log to FILE."
    )
    /// What mount(8) asks for beside what this applet's own options are.
    private static let restrictions = Option(
        "restrict",
        value: OptionValue("WHAT", .choice(["nosuid", "nodev", "noexec"])),
        isRepeatable: true,
        isHidden: true,
        help: "Mount with this restriction."
    )

    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "mount",
        summary: "Mount a converted image; its data arrives on first read",
        options: [
            SharedOptions.platform, SharedOptions.layers, SharedOptions.indexDirectory,
        ] + LimitOptions.ofTrees + [
            foreground, cacheDirectory,
        ] + ReadOptions.all + RegistryOptions.all + [
            logFile, LogOptions.level, LogOptions.format, ConfigurationOptions.file, restrictions,
        ],
        operands: [
            Operand("IMAGE", SharedOptions.image, help: "The converted image."),
            Operand("MOUNTPOINT", .directory, help: "An existing directory."),
        ]
    )

    /// What a configuration file may give defaults of: what is not about one image or one call.
    private static let configurable =
        LimitOptions.ofTrees + [cacheDirectory, SharedOptions.indexDirectory] + ReadOptions.all
        + RegistryOptions.all
        + [logFile, LogOptions.level, LogOptions.format]

    /// The log the options ask for.
    private static func logger(
        _ arguments: ParsedArguments,
        _ cacheDirectory: String
    ) throws -> Logger {
        let level = LogOptions.level(arguments)
        let format = LogOptions.format(arguments)
        var path = arguments.text(logFile)
        if path == nil, !arguments.has(foreground) {
            // A daemon has no terminal to complain on, and what goes wrong must be found somewhere.
            if let journal = Logger(level: level, journal: nil) { return journal }
            try FileSystem.makeDirectories(cacheDirectory, mode: 0o700)
            path = "\(cacheDirectory)/mount.log"
        }
        guard let path else { return Logger(level: level, format: format) }
        let file = try FileSystem.openForAppending(path)
        return Logger(level: level, format: format, owning: file.release())
    }

    /// Where chunks are kept if nothing else is said.
    private static func usualCacheDirectory() throws -> String {
        if CurrentProcess.isRoot { return cacheOfRoot }
        // The base directory specification: a relative path is to be passed over.
        if let base = CurrentProcess.environment("XDG_CACHE_HOME"), base.hasPrefix("/") {
            return "\(base)/lazypull"
        }
        guard let home = CurrentProcess.environment("HOME"), home.hasPrefix("/") else {
            throw UsageError("there is no home directory for a cache; name one with --cache-dir")
        }
        return "\(home)/.cache/lazypull"
    }

    private static func run(_ given: ParsedArguments) throws -> ExitCode {
        let configuration = try ConfigurationOptions.configuration(given)
        let arguments = given.filled(
            with: try configuration.table("mount").values(of: configurable)
        )
        let directory = try arguments.text(cacheDirectory) ?? usualCacheDirectory()
        var options = ReadOptions.mountOptions(arguments, cacheDirectory: directory)
        for word in arguments.texts(restrictions) {
            switch word {
            case "nosuid": options.restrictions.insert(.noSetUserID)
            case "nodev": options.restrictions.insert(.noDevices)
            default: options.restrictions.insert(.noPrograms)
            }
        }
        options.isForeground = arguments.has(foreground)
        let log = try logger(arguments, directory)
        let seconds = ReadOptions.fetchSeconds(arguments)
        let images = Images(
            arguments,
            retry: .command.within(seconds: seconds),
            reads: .deadline(seconds: seconds),
            log: log
        )
        // In a daemon this returns twice: in the process that started it, and at the mount's end.
        let status = try MountSession.run(
            try images.converted(),
            at: arguments.operands[1],
            options: options,
            log: log
        )
        return ExitCode(rawValue: status) ?? .failed
    }
}
