// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import Linux
import OCI
import TOML

/// Where the repositories of a registry are served, as containerd is told (containerd,
/// docs/hosts.md): `DIRECTORY/<host>/hosts.toml`, else `DIRECTORY/_default/hosts.toml`.
package struct HostsConfiguration: Sendable {
    /// The directory with one directory for each registry; need not exist.
    package var directory: String
    /// Whether registries without a file are spoken to in plain HTTP.
    package var usesPlainHTTP: Bool

    /// Where containerd's own configuration is.
    package static let defaultDirectory = "/etc/containerd/certs.d"

    /// A configuration.
    package init(directory: String = defaultDirectory, usesPlainHTTP: Bool = false) {
        self.directory = directory
        self.usesPlainHTTP = usesPlainHTTP
    }

    /// The registries that may be meant where a host is named without its port: the host itself, and
    /// those of its ports that something is said about.
    ///
    /// - Parameter host: the host.
    /// - Returns: registries as references name them.
    package func registries(ofHost host: String) -> [String] {
        let names = ((try? FileSystem.names(inDirectory: directory)) ?? []).sorted()
        let ports = names.compactMap { name -> String? in
            guard name.hasPrefix(host) else { return nil }
            var rest = name.dropFirst(host.count)
            guard let sign = rest.popFirst(), sign == ":" || sign == "_" else { return nil }
            if sign == "_", rest.popLast() != "_" { return nil }
            return UInt16(rest).map { "\(host):\($0)" }
        }
        return ports + [host]
    }

    /// The hosts of a registry, in the order in which they are asked; the registry itself is last.
    ///
    /// - Parameter registry: host and port, as references name it.
    /// - Returns: at least one.
    /// - Throws: `ContentError` with path and line if a file is wrong.
    func hosts(of registry: String) throws(ContentError) -> [RegistryHost] {
        guard let found = configurationDirectory(registry) else { return [try origin(registry)] }
        let path = "\(found)/hosts.toml"
        guard let bytes = try Self.contents(path) else {
            var host = try origin(registry)
            try addCertificates(of: found, to: &host)
            return [host]
        }
        let document = try TOMLValue(parsing: bytes, path: path)
        var reader = HostsReader(path: path, directory: found, registry: registry)
        return try reader.hosts(in: document, origin: try origin(registry))
    }

    /// The registry itself, with nothing said about it.
    private func origin(_ registry: String) throws(ContentError) -> RegistryHost {
        let host = registry == Reference.defaultRegistry ? "registry-1.docker.io" : registry
        guard let secure = URL("https://\(host)/v2"), let plain = URL("http://\(host)/v2") else {
            throw .unsupported("'\(registry)' is no registry")
        }
        let isPlain = usesPlainHTTP || secure.isLoopback
        return RegistryHost(base: isPlain ? plain : secure, capabilities: .all)
    }

    /// The first directory there is: `host_5000_`, `host:5000`, `_default`.
    private func configurationDirectory(_ registry: String) -> String? {
        var names = [registry, "_default"]
        if let colon = registry.lastIndex(of: ":") {
            let port = registry[registry.index(after: colon)...]
            names.insert("\(registry[..<colon])_\(port)_", at: 0)
        }
        return names.map { "\(directory)/\($0)" }.first { path in
            (try? FileStatus(path: path).isDirectory) ?? false
        }
    }

    /// Docker's older form: certificates that lie in the directory.
    private func addCertificates(
        of directory: String,
        to host: inout RegistryHost
    ) throws(ContentError) {
        let names = ((try? FileSystem.names(inDirectory: directory)) ?? []).sorted()
        for name in names where name.hasSuffix(".crt") {
            let bytes = try Self.contents("\(directory)/\(name)") ?? []
            host.tls.authorities += bytes + [0x0a]
        }
        guard let name = names.first(where: { $0.hasSuffix(".cert") }) else { return }
        host.tls.clientCertificate = "\(directory)/\(name)"
        host.tls.clientKey = "\(directory)/\(name.dropLast(5)).key"
    }

    /// A file; nil if there is none.
    static func contents(_ path: String) throws(ContentError) -> [UInt8]? {
        do throws(SystemError) {
            return try FileSystem.contents(of: path, limit: 1 << 20)
        } catch {
            if error.isNotFound { return nil }
            throw ContentError(.inputOutput, error.description)
        }
    }
}
