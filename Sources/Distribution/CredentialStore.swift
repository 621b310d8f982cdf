// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI

/// Finds credentials where Docker and Podman keep them, each time anew: a login or a rotation is
/// seen by a process that runs.
///
/// `$REGISTRY_AUTH_FILE` alone if it is set; else `config.json` in `$DOCKER_CONFIG` or `~/.docker`,
/// then Podman's `auth.json`. In a file a helper for the host comes before the helper for all, that
/// before what the file holds itself. Where none of them has one, the kubelet's plugins are asked.
struct CredentialStore: Sendable {
    /// The files, in the order they are looked into.
    let files: [String]
    /// Who is asked last; nil for nobody.
    var plugins: CredentialPlugins?

    /// The usual files.
    init() {
        let home =
            CurrentProcess.environment("HOME") ?? (CurrentProcess.isRoot ? "/root" : nil)
        if let file = CurrentProcess.environment("REGISTRY_AUTH_FILE"), !file.isEmpty {
            files = [file]
            return
        }
        let docker =
            CurrentProcess.environment("DOCKER_CONFIG").flatMap { $0.isEmpty ? nil : $0 }
            ?? home.map { "\($0)/.docker" }
        let runtime = CurrentProcess.environment("XDG_RUNTIME_DIR")
        files = [
            docker.map { "\($0)/config.json" }, runtime.map { "\($0)/containers/auth.json" },
        ].compactMap { $0 }
    }

    /// The given files.
    init(files: [String]) {
        self.files = files
    }

    /// The credential for a repository.
    ///
    /// - Parameters:
    ///   - registry: the registry's host and port, as references name it.
    ///   - repository: the repository; files may hold a credential for a part of a registry.
    /// - Returns: the credential; nil if there is none.
    /// - Throws: `ContentError` if a file is malformed, or a helper fails.
    func find(_ registry: String, _ repository: String) throws(ContentError) -> Credential? {
        for file in files {
            let bytes: [UInt8]
            do throws(SystemError) {
                bytes = try FileSystem.contents(of: file, limit: JSONValue.documentLimit)
            } catch {
                // A file of somebody else's is as good as none.
                if error.isNotFound || error.isPermissionDenied { continue }
                throw ContentError(.inputOutput, error.description)
            }
            let config = try JSONValue(parsing: bytes, document: file)
            if let found = try find(registry, repository, in: config, file) { return found }
        }
        return try plugins?.find(registry, repository)
    }

    private func find(
        _ registry: String,
        _ repository: String,
        in config: JSONValue,
        _ file: String
    ) throws(ContentError) -> Credential? {
        let names = Self.names(registry, repository)
        for name in names {
            guard let helper = config["credHelpers"]?[name]?.text, !helper.isEmpty else {
                continue
            }
            return try CredentialHelper(helper).get(name)
        }
        if let helper = config["credsStore"]?.text, !helper.isEmpty {
            for name in names {
                if let found = try CredentialHelper(helper).get(name) { return found }
            }
        }
        for name in names {
            if let entry = config["auths"]?[name], let found = try Self.credential(entry, file) {
                return found
            }
        }
        return nil
    }

    /// The names a credential may stand under, the closest first.
    static func names(_ registry: String, _ repository: String) -> [String] {
        var names: [String] = []
        var path = "\(registry)/\(repository)"[...]
        while let slash = path.lastIndex(of: "/") {
            names.append(String(path))
            path = path[..<slash]
        }
        for host in registry == Reference.defaultRegistry
            ? ["index.docker.io", registry, "registry-1.docker.io"] : [registry]
        {
            names += ["https://\(host)/v1/", host, "https://\(host)", "https://\(host)/"]
            names += ["https://\(host)/v2/", "http://\(host)"]
        }
        return names
    }

    private static func credential(
        _ entry: JSONValue,
        _ file: String
    ) throws(ContentError) -> Credential? {
        if let token = entry["identitytoken"]?.text, !token.isEmpty { return .identityToken(token) }
        if let token = entry["registrytoken"]?.text, !token.isEmpty { return .registryToken(token) }
        if let user = entry["username"]?.text, let secret = entry["password"]?.text, !user.isEmpty {
            return .password(user: user, secret: secret)
        }
        guard let text = entry["auth"]?.text, !text.isEmpty else { return nil }
        let decoded = Base64.decode(text).flatMap { String(validating: $0, as: UTF8.self) }
        // The file's text is not shown: it is the secret.
        guard let decoded, let colon = decoded.firstIndex(of: ":") else {
            throw .corrupt("\(file): an auth that is not user:password in base 64")
        }
        return .password(
            user: String(decoded[..<colon]),
            // Old versions of Docker padded with zeros.
            secret: String(decoded[decoded.index(after: colon)...].prefix { $0 != "\0" })
        )
    }
}

/// A program `docker-credential-NAME` that keeps credentials (docker-credential-helpers).
struct CredentialHelper {
    private let program: String

    /// The helper of that name.
    ///
    /// - Throws: `ContentError` if it is no name of a program.
    init(_ name: String) throws(ContentError) {
        let isName = name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
            default: false
            }
        }
        guard isName else { throw .unsupported("'\(name)' is no credential helper") }
        program = "docker-credential-\(name)"
    }

    /// The credential for a server; nil if the helper has none.
    func get(_ server: String) throws(ContentError) -> Credential? {
        let outcome: ChildProcess.Outcome
        do throws(SystemError) {
            outcome = try ChildProcess.capture(program, ["get"], input: Array("\(server)\n".utf8))
        } catch {
            throw ContentError(.inputOutput, "credential helper: \(error)")
        }
        guard outcome.status == 0 else {
            // What it says is for people, and this text is the one all helpers agree on.
            let text = String(decoding: outcome.output.prefix(4096), as: UTF8.self)
            if text.contains("credentials not found") { return nil }
            throw ContentError(.denied, "\(program) failed for \(server)")
        }
        // Nothing of the output may get into a message.
        guard let answer = try? JSONValue(parsing: outcome.output, document: program),
            let user = answer["Username"]?.text, let secret = answer["Secret"]?.text
        else { throw .corrupt("\(program): an answer without Username and Secret") }
        if secret.isEmpty { return nil }
        return user == "<token>" ? .identityToken(secret) : .password(user: user, secret: secret)
    }
}
