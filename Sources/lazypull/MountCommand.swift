// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import ChunkCache
internal import Distribution
internal import Linux
internal import Log
internal import Mount

/// `lazypull mount`: mounts an image; bytes arrive on first read.
enum MountCommand {
    private static let defaultCacheDirectory = "/var/lib/lazypull/cache"
    private static let foreground = Option(
        "foreground",
        short: "f",
        help: "Stay in the foreground instead of becoming a daemon once the mount answers."
    )
    private static let cacheDirectory = Option(
        "cache-dir",
        value: OptionValue("DIR", .directory, fallback: defaultCacheDirectory),
        help: "Keep what is fetched in DIR, which no other process may use meanwhile."
    )
    private static let readAhead = Option(
        "read-ahead",
        value: OptionValue("BYTES", .integer(0...16_777_216), fallback: "524288"),
        help: """
            Fetch what lies around a miss as well: its request is extended to BYTES, the rest comes
            when nothing else is wanted. With 0 only what is read is fetched.
            """
    )
    private static let readDeadline = Option(
        "read-deadline",
        value: OptionValue("SECONDS", .integer(1...86_400), fallback: "300"),
        help: "Fail a read whose data has not arrived after SECONDS."
    )
    private static let logFile = Option(
        "log-file",
        value: OptionValue(
            "FILE",
            .file,
            defaultText: "standard error in the foreground, else mount.log in the cache directory"
        ),
        help: "Append the log to FILE."
    )
    private static let logLevel = Option(
        "log-level",
        value: OptionValue(
            "LEVEL",
            .choice(LogLevel.allCases.map(\.name)),
            fallback: LogLevel.info.name
        ),
        help: "Log events that matter at least this much."
    )

    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "mount",
        summary: "Mount a converted image; its data arrives on first read",
        options: [
            SharedOptions.platform, foreground, cacheDirectory, readAhead, readDeadline, logFile,
            logLevel,
        ],
        operands: [
            Operand("IMAGE", SharedOptions.image, help: "The converted image."),
            Operand("MOUNTPOINT", .directory, help: "An existing directory."),
        ]
    )

    /// The log the options ask for.
    private static func logger(_ arguments: ParsedArguments) throws -> Logger {
        let level = arguments.text(logLevel).flatMap(LogLevel.init(name:)) ?? .info
        var path = arguments.text(logFile)
        if path == nil, !arguments.has(foreground) {
            // A daemon has no terminal to complain on, and what goes wrong must be found somewhere.
            let directory = arguments.text(cacheDirectory) ?? defaultCacheDirectory
            try FileSystem.makeDirectories(directory, mode: 0o700)
            path = "\(directory)/mount.log"
        }
        guard let path else { return Logger(level: level) }
        let file = try FileSystem.openForAppending(path)
        return Logger(level: level, owning: file.release())
    }

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let image = try Images.name(arguments.operands[0])
        guard CurrentProcess.isRoot else {
            throw Failure(.denied, "mounting needs root; run it with sudo")
        }
        var options = MountOptions(
            cacheDirectory: arguments.text(cacheDirectory) ?? defaultCacheDirectory
        )
        options.isForeground = arguments.has(foreground)
        options.limits.readAhead = ReadAhead(
            requestBytes: UInt64(arguments.integer(readAhead) ?? 0)
        )
        options.limits.deadlineMilliseconds = arguments.integer(readDeadline).map {
            UInt64($0) * 1000
        }
        // In a daemon this returns twice: in the process that started it, and at the mount's end.
        let status = try MountSession.run(
            try Images.source(image, try SharedOptions.selection(arguments, .converted)),
            at: arguments.operands[1],
            options: options,
            log: try logger(arguments)
        )
        return ExitCode(rawValue: status) ?? .failed
    }
}
