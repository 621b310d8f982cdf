// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Distribution

/// Options that say how registries are reached.
enum RegistryOptions {
    /// All of them, in the order of help.
    static let all = [plainHTTP, hostsDirectory]

    private static let plainHTTP = Option(
        "plain-http",
        help: "Speak plain HTTP to registries that have no hosts.toml."
    )
    private static let hostsDirectory = Option(
        "hosts-dir",
        value: OptionValue("DIR", .directory, fallback: HostsConfiguration.defaultDirectory),
        help: "Find the registries' mirrors and certificates where containerd's hosts.toml are."
    )

    /// Where registries are served, by the command line.
    static func hosts(_ arguments: ParsedArguments) -> HostsConfiguration {
        HostsConfiguration(
            directory: arguments.text(hostsDirectory) ?? HostsConfiguration.defaultDirectory,
            usesPlainHTTP: arguments.has(plainHTTP)
        )
    }
}
