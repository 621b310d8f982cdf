// SPDX-License-Identifier: Apache-2.0

internal import Admin
internal import Arguments
internal import Configuration
internal import Containerd
internal import Distribution
// The names of signals.
internal import Glibc
internal import HTTP
internal import Linux
internal import Log
internal import Snapshotter

/// `lazypull serve-snapshotter`: a snapshotter for containerd.
enum ServeSnapshotterCommand {
    /// Where the sockets are if nothing else is said.
    private static let runDirectory = "/run/lazypull"
    /// How long calls may go on after SIGTERM, in milliseconds; less than service managers wait.
    private static let graceMilliseconds = 10_000

    private static let root = Option(
        "root",
        value: OptionValue("DIR", .directory, fallback: "/var/lib/lazypull/snapshotter"),
        help: "Keep snapshots in DIR, which no other process may use meanwhile."
    )
    private static let address = Option(
        "address",
        value: OptionValue("SOCKET", .file, fallback: "\(runDirectory)/snapshotter.sock"),
        help: "Serve containerd on the unix socket SOCKET."
    )
    /// Where the admin socket is; `status` asks there.
    static let adminAddress = Option(
        "admin-address",
        value: OptionValue("SOCKET", .file, fallback: "\(runDirectory)/admin.sock"),
        help: "Tell health, metrics and state on the unix socket SOCKET."
    )
    private static let cacheDirectory = Option(
        "cache-dir",
        value: OptionValue("DIR", .directory, defaultText: "cache in the directory of --root"),
        help: "Keep what is fetched of converted images in DIR, which is this service's alone."
    )
    private static let containerdAddress = Option(
        "containerd-address",
        value: OptionValue("SOCKET", .file, fallback: "/run/containerd/containerd.sock"),
        help: "Ask containerd on SOCKET where images came from that no client names."
    )
    private static let unmountAfter = Option(
        "unmount-after",
        value: OptionValue("SECONDS", .integer(1...31_536_000), fallback: "3600"),
        help: "Unmount an image that no container has used for SECONDS."
    )
    private static let indexPlaces = IndexPlace.allCases.map(\.rawValue)
    /// Where only this machine's administrators write: no digest of an image says whether an index
    /// over it tells the truth, and what one image's index says of a chain ID holds for all images.
    private static let defaultPlace = IndexPlace.local.rawValue
    private static let findIndex = Option(
        "find-index",
        value: OptionValue(
            "PLACE",
            .choice(indexPlaces + ["none"]),
            defaultText: defaultPlace
        ),
        isRepeatable: true,
        help: """
            Look for an index over an ordinary image in PLACE, and in further ones in the order
            given.
            """
    )
    private static let indexDirectory = Option(
        "index-dir",
        value: OptionValue("DIR", .directory, fallback: SharedOptions.indexesOfRoot),
        help: "Take DIR for the place 'local': a layout with indexes over images' layers."
    )
    /// How long the metadata of an image may take, in seconds: containerd waits for it.
    private static let metadataSeconds = 60
    /// What holds as long as the service runs.
    private static let fixed =
        [root, address, adminAddress, containerdAddress, cacheDirectory, unmountAfter]
        + [findIndex, indexDirectory] + ReadOptions.all
        + RegistryOptions.all
        + LimitOptions.ofTrees
    /// What a configuration file may give defaults of.
    private static let configurable = fixed + [LogOptions.level, LogOptions.format]

    static let applet = Applet(
        syntax: Syntax(
            name: "serve-snapshotter",
            summary: "Serve containerd as a snapshotter",
            options: configurable + [ConfigurationOptions.file],
            operands: []
        ),
        run: run
    )

    /// The command line with the defaults that the configuration file has now.
    private static func configured(_ given: ParsedArguments) throws -> ParsedArguments {
        let configuration = try ConfigurationOptions.configuration(given)
        return given.filled(
            with: try configuration.table("snapshotter").values(of: configurable)
        )
    }

    /// To the journal where the service manager connects standard error with it, else there.
    private static func logger(_ arguments: ParsedArguments) -> Logger {
        let level = LogOptions.level(arguments)
        guard CurrentProcess.environment("JOURNAL_STREAM") != nil,
            let journal = Logger(level: level, journal: nil)
        else { return Logger(level: level, format: LogOptions.format(arguments)) }
        return journal
    }

    /// The path of a socket; the usual directory is made, another must exist.
    private static func socketPath(
        _ arguments: ParsedArguments,
        _ option: Option
    ) throws -> String {
        let path = arguments.text(option) ?? ""
        guard path.hasPrefix("/") else {
            throw UsageError("--\(option.name) '\(path)' is no absolute path")
        }
        if path.hasPrefix("\(runDirectory)/") {
            try FileSystem.makeDirectories(runDirectory, mode: 0o711)
        }
        return path
    }

    /// Mounts converted images as the command line says.
    private static func mounter(
        _ arguments: ParsedArguments,
        _ root: String,
        _ log: Logger
    ) throws -> EngineMounter {
        let directory = arguments.text(cacheDirectory) ?? "\(root)/cache"
        guard directory.hasPrefix("/") else { throw UsageError("--cache-dir is no absolute path") }
        let registries = RegistryOptions.access(
            arguments,
            retry: .command.within(seconds: metadataSeconds),
            reads: .deadline(seconds: ReadOptions.fetchSeconds(arguments)),
            log: log
        )
        return try EngineMounter(
            ReadOptions.mountOptions(arguments, cacheDirectory: directory),
            registries,
            LimitOptions.limits(arguments),
            try indexSearch(arguments, registries),
            MountDescriptors(root, log),
            log
        )
    }

    /// Where indexes over ordinary images are looked for.
    private static func indexSearch(
        _ arguments: ParsedArguments,
        _ registries: RegistryAccess
    ) throws -> IndexSearch {
        let words = arguments.has(findIndex) ? arguments.texts(findIndex) : [defaultPlace]
        if words.contains("none"), words.count > 1 {
            throw UsageError("--find-index none goes with no other place")
        }
        let directory = arguments.text(indexDirectory) ?? SharedOptions.indexesOfRoot
        guard directory.hasPrefix("/") else { throw UsageError("--index-dir is no absolute path") }
        return IndexSearch(
            words.compactMap { IndexPlace(rawValue: $0) },
            directory: directory,
            registries
        )
    }

    /// Finds images that no client names, with containerd's help.
    private static func locator(_ arguments: ParsedArguments) throws -> ContentLocator {
        guard let address = arguments.text(containerdAddress), address.hasPrefix("/") else {
            throw UsageError("--containerd-address is no absolute path")
        }
        let hosts = RegistryOptions.hosts(arguments)
        return ContentLocator(address: address) { hosts.registries(ofHost: $0) }
    }

    private static func run(_ given: ParsedArguments) throws -> ExitCode {
        let arguments = try configured(given)
        guard let rootPath = arguments.text(root), rootPath.hasPrefix("/") else {
            throw UsageError("--root is no absolute path")
        }
        let address = try socketPath(arguments, address)
        let adminAddress = try socketPath(arguments, adminAddress)
        let log = logger(arguments)
        // Before any thread is started.
        let signals = try SignalDescriptor([SIGTERM, SIGINT, SIGHUP])
        let mounter = try mounter(arguments, rootPath, log)
        let snapshotter = try Snapshotter(
            root: rootPath,
            mounter: mounter,
            idleSeconds: arguments.integer(unmountAfter) ?? 3_600,
            locator: locator(arguments),
            logger: log
        )
        let calls = CallCounts()
        let admin = try AdminServer(ServiceState(snapshotter, calls), address: adminAddress)
        let server = try SnapshotsServer(snapshotter, address: address, observer: calls, log: log)
        log.info("serving", ["address": address, "root": rootPath, "admin": adminAddress])
        ServiceNotifier.send(ServiceNotifier.ready)
        while try signals.next() == SIGHUP { reload(given, started: arguments, log) }
        ServiceNotifier.send(ServiceNotifier.stopping)
        log.info("stopping")
        let isQuiet = server.stop(graceMilliseconds: graceMilliseconds)
        admin.stop()
        guard isQuiet else {
            // The state survives every death; a call that does not return is no reason to stay.
            log.warning("calls are still running")
            return .failed
        }
        snapshotter.close()
        mounter.close()
        log.info("stopped")
        return .done
    }

    /// Takes over what may change while the service runs, the log's level and format, and names what
    /// would change with the next start.
    ///
    /// A configuration that is wrong changes nothing.
    private static func reload(
        _ given: ParsedArguments,
        started: ParsedArguments,
        _ log: Logger
    ) {
        let arguments: ParsedArguments
        do {
            arguments = try configured(given)
        } catch {
            log.error("the configuration stays as it was: \(Failure(error).message)")
            return
        }
        log.setFormat(LogOptions.format(arguments))
        log.setLevel(LogOptions.level(arguments))
        log.info("configuration read again")
        let changed = fixed.filter {
            arguments.texts($0) != started.texts($0) || arguments.has($0) != started.has($0)
        }.map(\.name)
        guard !changed.isEmpty else { return }
        log.warning(
            "what has changed takes effect when the service is started again",
            ["keys": changed.joined(separator: ", ")]
        )
    }
}
