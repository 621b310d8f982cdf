// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Distribution
internal import HTTP
internal import Linux
internal import Log

/// Options that say how registries are reached.
enum RegistryOptions {
    /// All of them, in the order of help.
    static let all = [plainHTTP, hostsDirectory, providerConfiguration, providerDirectory]
    /// Those of commands that end with their work.
    static let ofCommands = all + [deadline]

    private static let plainHTTP = Option(
        "plain-http",
        help: "Speak plain HTTP to registries that have no hosts.toml."
    )
    private static let hostsDirectory = Option(
        "hosts-dir",
        value: OptionValue("DIR", .directory, fallback: HostsConfiguration.defaultDirectory),
        help: "Find the registries' mirrors and certificates where containerd's hosts.toml are."
    )
    private static let providerConfiguration = Option(
        "credential-provider-config",
        value: OptionValue("FILE", .file),
        help: "Ask the kubelet's credential providers of this configuration, after Docker's files."
    )
    private static let providerDirectory = Option(
        "credential-provider-bin-dir",
        value: OptionValue("DIR", .directory, fallback: defaultProviderDirectory),
        help: "Find the credential providers' programs here."
    )

    private static let deadline = Option(
        "registry-deadline",
        value: OptionValue("SECONDS", .integer(1...86_400), fallback: "120"),
        help: "Give up on what a registry does not answer, or does not take, within SECONDS."
    )

    /// How often and how long a command asks a registry again.
    static func patience(_ arguments: ParsedArguments) -> RetryPolicy {
        guard let seconds = arguments.integer(deadline) else { return .command }
        return .command.lasting(seconds: seconds)
    }

    /// Where kubeadm's packages and distributions' images put them, mostly.
    private static let defaultProviderDirectory =
        "/usr/libexec/kubernetes/image-credential-provider"

    /// Who gives the kubelet credentials, by the command line; nil for nobody.
    ///
    /// - Parameter arguments: the command line.
    /// - Returns: the plugins, their paths absolute: a daemon leaves the directory it began in.
    private static func plugins(_ arguments: ParsedArguments) -> CredentialPlugins? {
        guard let file = arguments.text(providerConfiguration) else { return nil }
        return CredentialPlugins(
            configuration: absolute(file),
            directory: absolute(arguments.text(providerDirectory) ?? defaultProviderDirectory)
        )
    }

    private static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"),
            let here = try? FileSystem.target(ofSymbolicLink: "/proc/self/cwd")
        else { return path }
        return "\(here)/\(path)"
    }

    /// How registries are reached, by the command line.
    ///
    /// - Parameters:
    ///   - arguments: the command line.
    ///   - retry: how failures are dealt with where documents and whole blobs go.
    ///   - reads: how they are where a range of a blob is read.
    ///   - log: takes what went wrong on the way and was mended.
    /// - Returns: the access; nothing is sent yet.
    static func access(
        _ arguments: ParsedArguments,
        retry: RetryPolicy,
        reads: RetryPolicy,
        log: Logger
    ) -> RegistryAccess {
        RegistryAccess(
            userAgent: "\(Program.name)/\(Program.version)",
            hosts: hosts(arguments),
            plugins: plugins(arguments),
            retry: retry,
            reads: reads,
            log: log
        )
    }

    /// Where registries are served, by the command line.
    static func hosts(_ arguments: ParsedArguments) -> HostsConfiguration {
        HostsConfiguration(
            directory: arguments.text(hostsDirectory) ?? HostsConfiguration.defaultDirectory,
            usesPlainHTTP: arguments.has(plainHTTP)
        )
    }
}
