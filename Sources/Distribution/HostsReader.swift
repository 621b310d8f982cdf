// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import OCI
import TOML

/// Reads one hosts.toml.
struct HostsReader {
    /// The file's path, for errors.
    let path: String
    /// What relative paths in it start from.
    let directory: String
    /// The registry it is about.
    let registry: String

    /// The hosts in the order of the file, then the server.
    mutating func hosts(
        in document: TOMLValue,
        origin: RegistryHost
    ) throws(ContentError) -> [RegistryHost] {
        var hosts: [RegistryHost] = []
        var server = origin
        var rootEntries: [TOMLEntry] = []
        for entry in try table(document) {
            switch entry.key {
            case "server": server = try host(try string(entry.value), at: entry.value)
            case "host":
                for host in try table(entry.value) {
                    hosts.append(try self.host(host))
                }
            default: rootEntries.append(entry)
            }
        }
        try apply(rootEntries, to: &server)
        server.namespace = namespace(of: server)
        return hosts.filter { $0.base != server.base } + [server]
    }

    private func host(_ entry: TOMLEntry) throws(ContentError) -> RegistryHost {
        var host = try host(entry.key, at: entry.value)
        try apply(try table(entry.value), to: &host)
        host.namespace = namespace(of: host)
        return host
    }

    /// What a mirror is told; the registry itself, also under the name Docker Hub serves it, is
    /// told nothing.
    private func namespace(of host: RegistryHost) -> String? {
        let isDockerHub =
            registry == Reference.defaultRegistry && host.base.host == "registry-1.docker.io"
        let own = URL("\(host.base.scheme)://\(registry)/")
        return isDockerHub || own?.origin == host.base.origin ? nil : registry
    }

    /// A host with its address alone.
    private func host(_ text: String, at place: TOMLValue) throws(ContentError) -> RegistryHost {
        let address = text.contains("://") ? text : "https://\(text)"
        guard let url = URL(address) else { throw wrong(place, "'\(text)' is no address") }
        return RegistryHost(base: url, capabilities: .all)
    }

    private func apply(
        _ entries: [TOMLEntry],
        to host: inout RegistryHost
    ) throws(ContentError) {
        var overridesPath = false
        for entry in entries {
            let value = entry.value
            switch entry.key {
            case "capabilities": host.capabilities = try capabilities(value)
            case "ca": host.tls.authorities = try authorities(value)
            case "client": try setClient(value, &host.tls)
            case "skip_verify": host.tls.isVerified = !(try boolean(value))
            case "override_path": overridesPath = try boolean(value)
            case "header": host.headers = try headers(value)
            // What later versions of containerd know is no reason to read nothing.
            default: continue
            }
        }
        var base = host.base.text.split(separator: "?", maxSplits: 1).first.map(String.init) ?? ""
        while base.hasSuffix("/") { base.removeLast() }
        if !overridesPath, !base.hasSuffix("/v2") { base += "/v2" }
        if let url = URL(base) { host.base = url }
    }

    private func capabilities(
        _ value: TOMLValue
    ) throws(ContentError) -> RegistryHost.Capabilities {
        var result: RegistryHost.Capabilities = []
        for name in try strings(value) {
            switch name {
            case "pull": result.insert(.pull)
            case "resolve": result.insert(.resolve)
            case "push": result.insert(.push)
            case "referrers": continue
            default: throw wrong(value, "unknown capability '\(name)'")
            }
        }
        return result
    }

    private func authorities(_ value: TOMLValue) throws(ContentError) -> [UInt8] {
        var all: [UInt8] = []
        for name in try strings(value) {
            guard let bytes = try HostsConfiguration.contents(absolute(name)) else {
                throw wrong(value, "there is no file \(absolute(name))")
            }
            all += bytes + [0x0a]
        }
        return all
    }

    /// `"both.pem"`, `["both.pem"]` or `[["cert.pem", "key.pem"]]`; the first is used.
    private func setClient(_ value: TOMLValue, _ tls: inout TLSSettings) throws(ContentError) {
        var names: [String]
        if case .array(let values) = value.kind, let first = values.first,
            case .array = first.kind
        {
            names = try strings(first)
        } else {
            names = Array(try strings(value).prefix(1))
        }
        names = names.map(absolute)
        guard let certificate = names.first, names.count <= 2 else {
            throw wrong(value, "a certificate, or a certificate and its key")
        }
        tls.clientCertificate = certificate
        tls.clientKey = names.count > 1 ? names[1] : nil
    }

    private func headers(_ value: TOMLValue) throws(ContentError) -> [HTTPHeader] {
        var headers: [HTTPHeader] = []
        for entry in try table(value) {
            for text in try strings(entry.value) { headers.append(HTTPHeader(entry.key, text)) }
        }
        return headers
    }

    private func absolute(_ name: String) -> String {
        name.hasPrefix("/") ? name : "\(directory)/\(name)"
    }

    private func wrong(_ value: TOMLValue, _ message: String) -> ContentError {
        .corrupt("\(path):\(value.line): \(message)")
    }

    private func table(_ value: TOMLValue) throws(ContentError) -> [TOMLEntry] {
        guard case .table(let entries) = value.kind else { throw wrong(value, "not a table") }
        return entries
    }

    private func string(_ value: TOMLValue) throws(ContentError) -> String {
        guard case .string(let text) = value.kind else { throw wrong(value, "not a string") }
        return text
    }

    private func boolean(_ value: TOMLValue) throws(ContentError) -> Bool {
        guard case .boolean(let flag) = value.kind else {
            throw wrong(value, "neither true nor false")
        }
        return flag
    }

    /// A string, or an array of strings.
    private func strings(_ value: TOMLValue) throws(ContentError) -> [String] {
        guard case .array(let values) = value.kind else { return [try string(value)] }
        var result: [String] = []
        for value in values { result.append(try string(value)) }
        return result
    }
}
