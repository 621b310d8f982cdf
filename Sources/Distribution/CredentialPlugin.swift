// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI
import Synchronization

/// One program that gives the kubelet credentials, and what it has answered.
final class CredentialPlugin: Sendable {
    private let provider: CredentialProvider
    private let path: String
    /// By the image, its registry, or nothing, as the program says; locked while the program runs.
    private let answers = Mutex<[String: Answer]>([:])

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

    /// A provider's program.
    ///
    /// - Parameters:
    ///   - provider: what the configuration says of it.
    ///   - directory: where the programs are.
    init(_ provider: CredentialProvider, in directory: String) {
        self.provider = provider
        path = "\(directory)/\(provider.name)"
    }

    /// Whether the configuration sends the image here.
    func isAsked(for image: String) -> Bool {
        provider.isAsked(for: image)
    }

    /// The credential for a repository, from an answer that still holds or from the program.
    ///
    /// - Parameters:
    ///   - registry: the registry's host and port.
    ///   - repository: the repository.
    /// - Returns: the credential; nil if the program gives none for it.
    /// - Throws: `ContentError` if the program fails.
    func find(_ registry: String, _ repository: String) throws(ContentError) -> Credential? {
        let image = "\(registry)/\(repository)"
        let answer = try answers.withLock { (answers) throws(ContentError) in
            if let known = Self.known([image, registry, ""], &answers) { return known }
            let (scope, answer) = try ask(registry, image)
            if answers.count >= Self.answerLimit { answers.removeAll() }
            answers[scope] = answer
            return answer
        }
        let found = answer.credentials.first { ImagePattern($0.pattern)?.matches(image) == true }
        return found?.credential
    }

    private static func known(_ scopes: [String], _ answers: inout [String: Answer]) -> Answer? {
        let now = CurrentProcess.monotonicNanoseconds
        for scope in scopes {
            guard let answer = answers[scope] else { continue }
            if now < answer.end { return answer }
            answers[scope] = nil
        }
        return nil
    }

    /// Runs the program.
    ///
    /// - Returns: what its answer is for, and the answer.
    private func ask(
        _ registry: String,
        _ image: String
    ) throws(ContentError) -> (scope: String, answer: Answer) {
        let name = "credential provider \(provider.name)"
        let request = JSONValue.object([
            "apiVersion": .string(provider.apiVersion),
            "kind": .string("CredentialProviderRequest"),
            "image": .string(image),
        ])
        let outcome: ChildProcess.Outcome
        do throws(SystemError) {
            outcome = try ChildProcess.capture(
                path,
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
        return (scope, answer)
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
