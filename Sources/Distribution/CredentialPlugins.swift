// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI
import Synchronization

/// Asks the programs that give the kubelet credentials; what they answer is kept as long as they
/// say.
///
/// Several threads that want the same wait for one run of the program. Nothing that a program
/// writes gets into a message.
package final class CredentialPlugins: Sendable {
    private let configuration: String
    private let directory: String
    private let state = Mutex(State())

    private struct State {
        var providers: [CredentialProvider]?
        var answers: [CacheKey: Answer] = [:]
    }

    private struct CacheKey: Hashable {
        var provider: String
        /// The image, its registry, or nothing, as the program says.
        var scope: String
    }

    private struct Answer {
        var credentials: [(pattern: String, credential: Credential)]
        /// On the monotonic clock, in nanoseconds.
        var end: UInt64
    }

    /// How long a program may take, as with the kubelet.
    private static let milliseconds = 60_000
    /// The most that one may write, in bytes.
    private static let outputLimit = 1 << 20
    /// More answers than that are not kept.
    private static let answerLimit = 4096

    /// The plugins; nothing is read before a credential is asked for.
    ///
    /// - Parameters:
    ///   - configuration: the path of a CredentialProviderConfig in JSON or YAML.
    ///   - directory: where the programs are.
    package init(configuration: String, directory: String) {
        self.configuration = configuration
        self.directory = directory
    }

    /// The credential for a repository.
    ///
    /// - Parameters:
    ///   - registry: the registry's host and port.
    ///   - repository: the repository.
    /// - Returns: the credential; nil if no provider has one.
    /// - Throws: `ContentError` if the configuration is wrong, or a program fails.
    func find(_ registry: String, _ repository: String) throws(ContentError) -> Credential? {
        let image = "\(registry)/\(repository)"
        return try state.withLock { (state) throws(ContentError) in
            if state.providers == nil { state.providers = try read() }
            for provider in state.providers ?? [] where provider.isAsked(for: image) {
                var answer = Self.known(provider, registry, image, &state)
                if answer == nil { answer = try ask(provider, registry, image, &state) }
                let found = answer?.credentials.first { entry in
                    ImagePattern(entry.pattern)?.matches(image) == true
                }
                if let found { return found.credential }
            }
            return nil
        }
    }

    private func read() throws(ContentError) -> [CredentialProvider] {
        let bytes = try systemCall { () throws(SystemError) in
            try FileSystem.contents(of: configuration, limit: JSONValue.documentLimit)
        }
        // What begins with a brace is JSON; YAML of this kind begins with a name.
        let isJSON = bytes.first { $0 > 0x20 } == UInt8(ascii: "{")
        let document =
            isJSON
            ? try JSONValue(parsing: bytes, document: configuration)
            : try BlockYAML.value(of: bytes, document: configuration)
        return try CredentialProvider.providers(in: document, configuration)
    }

    private static func known(
        _ provider: CredentialProvider,
        _ registry: String,
        _ image: String,
        _ state: inout State
    ) -> Answer? {
        let now = CurrentProcess.monotonicNanoseconds
        for scope in [image, registry, ""] {
            let key = CacheKey(provider: provider.name, scope: scope)
            guard let answer = state.answers[key] else { continue }
            if now < answer.end { return answer }
            state.answers[key] = nil
        }
        return nil
    }

    private func ask(
        _ provider: CredentialProvider,
        _ registry: String,
        _ image: String,
        _ state: inout State
    ) throws(ContentError) -> Answer {
        let name = "credential provider \(provider.name)"
        let request = JSONValue.object([
            "apiVersion": .string(provider.apiVersion),
            "kind": .string("CredentialProviderRequest"),
            "image": .string(image),
        ])
        let outcome: ChildProcess.Outcome
        do throws(SystemError) {
            outcome = try ChildProcess.capture(
                "\(directory)/\(provider.name)",
                provider.arguments,
                environment: provider.variables.map { ($0.name, $0.value) },
                input: request.serialized(),
                outputLimit: Self.outputLimit,
                milliseconds: Self.milliseconds
            )
        } catch {
            throw ContentError(.denied, "\(name): \(error)")
        }
        guard outcome.status == 0 else {
            throw ContentError(.denied, "\(name) failed with status \(outcome.status) for \(image)")
        }
        guard let response = try? JSONValue(parsing: outcome.output, document: name),
            response["kind"]?.text == "CredentialProviderResponse",
            response["apiVersion"]?.text == provider.apiVersion
        else { throw .corrupt("\(name): no CredentialProviderResponse of \(provider.apiVersion)") }
        let scope: String
        switch response["cacheKeyType"]?.text {
        case "Image": scope = image
        case "Registry": scope = registry
        case "Global": scope = ""
        default: throw .corrupt("\(name): cacheKeyType is neither Image, Registry nor Global")
        }
        let seconds =
            response["cacheDuration"]?.text.flatMap(GoDuration.seconds)
            ?? provider.defaultCacheSeconds
        let answer = Answer(
            credentials: Self.credentials(response),
            end: CurrentProcess.monotonicNanoseconds &+ seconds &* 1_000_000_000
        )
        if state.answers.count >= Self.answerLimit { state.answers.removeAll() }
        state.answers[CacheKey(provider: provider.name, scope: scope)] = answer
        return answer
    }

    /// What an answer holds, the longest patterns of a host first.
    private static func credentials(
        _ response: JSONValue
    ) -> [(pattern: String, credential: Credential)] {
        guard case .object(let entries)? = response["auth"] else { return [] }
        return entries.sorted { $0.key > $1.key }.compactMap { pattern, entry in
            guard let user = entry["username"]?.text, let secret = entry["password"]?.text else {
                return nil
            }
            return (pattern, .password(user: user, secret: secret))
        }
    }
}
