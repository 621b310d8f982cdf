// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import Linux
import Log
package import OCI
import Synchronization

/// One repository of a registry, on all the hosts that serve it (distribution-spec 1.1).
///
/// Hosts are asked in the order of the configuration: a mirror once, the registry itself, which is
/// last, as patiently as the policy says. A mirror that cannot be reached is left alone for a while.
package final class RegistryClient: Sendable {
    /// The registry's host and port, as it was named.
    let registry: String
    /// The repository.
    let repository: String
    let access: RegistryAccess
    private let foundHosts = Mutex<[RegistryHost]?>(nil)
    /// Until when a host is left alone, on the monotonic clock.
    private let pauses = Mutex<[RegistryHost: UInt64]>([:])

    /// Mirrors that lack a blob or sent wrong bytes of it, and until when they are not asked for it.
    private let distrusted = Mutex<[Distrust: UInt64]>([:])

    private struct Distrust: Hashable {
        var host: RegistryHost
        var blob: Digest
    }

    /// How long a mirror is left alone that could not be reached, in nanoseconds.
    private static let pause: UInt64 = 30_000_000_000
    /// How long one is not asked for a blob that it lacks, in nanoseconds: it may be getting it.
    private static let absence: UInt64 = 60_000_000_000
    /// How long one is not asked for a blob of which it sent wrong bytes, in nanoseconds.
    private static let distrust: UInt64 = 600_000_000_000

    /// The repository of a reference; nothing is sent yet.
    ///
    /// - Parameters:
    ///   - reference: names the registry and the repository.
    ///   - access: how registries are reached.
    package init(_ reference: Reference, _ access: RegistryAccess) {
        registry = reference.registry
        repository = reference.repository
        self.access = access
    }

    /// Registry and repository, for messages.
    var place: String { "\(registry)/\(repository)" }

    /// All hosts in the order of the configuration; their places in it are their numbers.
    func hosts() throws(ContentError) -> [RegistryHost] {
        if let found = foundHosts.withLock({ $0 }) { return found }
        let found = try access.hosts.hosts(of: registry)
        foundHosts.withLock { $0 = found }
        return found
    }

    /// The host that takes uploads: mirrors do not, unless they say so.
    ///
    /// - Throws: `ContentError` if there is none.
    func pushHost() throws(ContentError) -> RegistryHost {
        let hosts = try hosts().filter { $0.capabilities.contains(.push) }
        // A mirror's default capabilities include it; the registry itself is meant all the same.
        guard let host = hosts.last else {
            throw .unsupported("\(place): no host of this registry takes uploads (hosts.toml)")
        }
        return host
    }

    /// What may be done: `repository:NAME:pull`.
    func scopes(_ actions: String) -> [String] { ["repository:\(repository):\(actions)"] }

    /// Asks the hosts, one after the other.
    ///
    /// - Parameters:
    ///   - capability: what they must offer.
    ///   - object: what is asked for, for the log.
    ///   - policy: how patiently the last is asked.
    ///   - passedOver: mirrors that are not asked.
    ///   - isServed: whether what the body returns is what was asked for, for the log.
    ///   - body: asks one.
    /// - Returns: what the body returns.
    /// - Throws: `ContentError` if no host answers as it should.
    func ask<T>(
        _ capability: RegistryHost.Capabilities,
        _ object: String,
        policy: RetryPolicy? = nil,
        passingOver passedOver: [RegistryHost] = [],
        isServed: (T) -> Bool = { _ in true },
        _ body: (RegistryHost, _ deadline: UInt64) throws(HTTPError) -> T
    ) throws(ContentError) -> T {
        let hosts = try hosts(capability)
        guard let last = hosts.last else {
            throw .unsupported("\(place): no host of this registry may be asked (hosts.toml)")
        }
        let policy = policy ?? access.retry
        for host in hosts.dropLast() where !isPaused(host) && !passedOver.contains(host) {
            let once = RetryPolicy(attempts: 1, duration: policy.duration)
            do throws(HTTPError) {
                let value = try once.run { (deadline) throws(HTTPError) in
                    try body(host, deadline)
                }
                if isServed(value) { noteServed(host, object) }
                return value
            } catch {
                access.log.warning("mirror failed", fields(error, object))
                if error.isRetryable || error.kind == .untrusted { setPause(host) }
            }
        }
        do throws(HTTPError) {
            let value = try policy.run { error in
                access.log.info("registry failed, asked again", fields(error, object))
            } _: { (deadline) throws(HTTPError) in
                try body(last, deadline)
            }
            if isServed(value) { noteServed(last, object) }
            return value
        } catch {
            throw contentError(error, object)
        }
    }

    private func noteServed(_ host: RegistryHost, _ object: String) {
        access.log.debug("host served", ["host": host.base, "object": object])
    }

    /// What is logged of a failure: its cause names the host.
    private func fields(_ error: HTTPError, _ object: String) -> LogFields {
        ["registry": registry, "repository": repository, "object": object, "cause": error]
    }

    /// The hosts that offer something.
    func hosts(_ capability: RegistryHost.Capabilities) throws(ContentError) -> [RegistryHost] {
        try hosts().filter { $0.capabilities.isSuperset(of: capability) }
    }

    /// Whether a mirror lacked a blob, or sent wrong bytes of it, not long ago.
    func isDistrusted(_ host: RegistryHost, _ blob: Digest) -> Bool {
        distrusted.withLock { $0[Distrust(host: host, blob: blob), default: 0] }
            > CurrentProcess.monotonicNanoseconds
    }

    /// Takes note of who sent wrong bytes of a blob; mirrors among them are not asked for it any
    /// more for a while.
    ///
    /// - Returns: whether there are any.
    func distrust(_ servers: BlobServers, _ blob: Digest, because cause: ContentError) -> Bool {
        guard let all = try? hosts(), let last = try? hosts(.pull).last else { return false }
        let end = CurrentProcess.monotonicNanoseconds &+ Self.distrust
        var isMirror = false
        for host in servers.numbers.filter(all.indices.contains).map({ all[$0] }) {
            access.log.warning(
                "host sent wrong bytes",
                [
                    "host": host.base, "registry": registry, "repository": repository,
                    "blob": blob, "cause": cause,
                ]
            )
            guard host != last else { continue }
            isMirror = true
            distrusted.withLock { $0[Distrust(host: host, blob: blob)] = end }
        }
        return isMirror
    }

    /// Takes note that a mirror lacks a blob: not every range is asked for there in vain.
    func noteAbsence(of blob: Digest, at host: RegistryHost) {
        let end = CurrentProcess.monotonicNanoseconds &+ Self.absence
        distrusted.withLock { $0[Distrust(host: host, blob: blob)] = end }
    }

    /// Whether a host could not be reached not long ago.
    func isPaused(_ host: RegistryHost) -> Bool {
        pauses.withLock { $0[host, default: 0] } > CurrentProcess.monotonicNanoseconds
    }

    /// Leaves a host alone for a while.
    func setPause(_ host: RegistryHost) {
        let end = CurrentProcess.monotonicNanoseconds &+ Self.pause
        pauses.withLock { $0[host] = end }
    }

    /// An error with what it happened on, and what may be done about it.
    func contentError(_ error: HTTPError, _ object: String) -> ContentError {
        var content = error.asContentError
        content.wasRetried = error.isRetryable
        switch error.kind {
        case .status(401):
            content.message += "; is there a login for \(registry) (config.json of Docker)?"
        case .untrusted:
            content.message += "; an authority is named in hosts.toml (ca)"
        case .interrupted where error.cause.contains("wrong version number"):
            content.message += "; is this plain HTTP (--plain-http)?"
        default:
            break
        }
        return content.at("\(place): \(object)")
    }
}
