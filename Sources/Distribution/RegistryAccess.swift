// SPDX-License-Identifier: Apache-2.0

import Content
package import HTTP
import Linux
package import Log
import OCI
import Synchronization

/// How registries are reached: one for the process, shared by all repositories.
///
/// Nothing is read and nothing is sent before an image is asked for, so that a process may fork
/// with one in its hands.
package final class RegistryAccess: Sendable {
    /// Sends the requests.
    let http: HTTPClient
    /// Where registries are served.
    let hosts: HostsConfiguration
    /// How failures are dealt with where documents, whole blobs and uploads go.
    let retry: RetryPolicy
    /// How they are where a range of a blob is read.
    let reads: RetryPolicy
    /// Takes what went wrong and was mended.
    let log: Logger
    private let credentials: CredentialStore
    private let authorizers = Mutex<[Key: Authorizer]>([:])
    /// Hosts that sent the whole where a range was asked for, and until when that is believed.
    private let rangeless = Mutex<[RegistryHost: UInt64]>([:])

    /// How long a host is not asked for ranges that ignored one, in nanoseconds: a cache may give
    /// ranges as soon as it has the whole.
    private static let rangelessTime: UInt64 = 600_000_000_000

    /// Tokens are for a host, and credentials for a repository.
    private struct Key: Hashable {
        var host: RegistryHost
        var repository: String
    }

    /// Access with credentials from where Docker and Podman keep them.
    ///
    /// - Parameters:
    ///   - userAgent: how the program names itself.
    ///   - hosts: where registries are served.
    ///   - plugins: asked for credentials that Docker and Podman do not keep.
    ///   - retry: how failures are dealt with where documents, whole blobs and uploads go.
    ///   - reads: how they are where a range of a blob is read.
    ///   - log: takes what went wrong and was mended.
    package init(
        userAgent: String,
        hosts: HostsConfiguration,
        plugins: CredentialPlugins? = nil,
        retry: RetryPolicy = .command,
        reads: RetryPolicy,
        log: Logger
    ) {
        http = HTTPClient(userAgent: userAgent)
        self.hosts = hosts
        self.retry = retry
        self.reads = reads
        self.log = log
        var credentials = CredentialStore()
        credentials.plugins = plugins
        self.credentials = credentials
    }

    /// Who authorizes requests of a repository to a host.
    ///
    /// A mirror has credentials of its own, under its own name.
    func authorizer(_ host: RegistryHost, _ registry: String, _ repository: String) -> Authorizer {
        authorizers.withLock { authorizers in
            let key = Key(host: host, repository: repository)
            if let known = authorizers[key] { return known }
            let credentials = credentials
            let name = host.namespace == nil ? registry : Self.name(of: host.base)
            let made = Authorizer(host, http) { () throws(ContentError) in
                try credentials.find(name, repository)
            }
            authorizers[key] = made
            return made
        }
    }

    /// Whether a host is known to ignore ranges.
    func isRangeless(_ host: RegistryHost) -> Bool {
        rangeless.withLock { $0[host, default: 0] } > CurrentProcess.monotonicNanoseconds
    }

    /// Takes note of a host that ignored a range.
    func noteRangeless(_ host: RegistryHost) {
        let end = CurrentProcess.monotonicNanoseconds &+ Self.rangelessTime
        rangeless.withLock { $0[host] = end }
        log.warning("host sends no ranges", ["host": host.base])
    }

    /// Host and port as a user names them.
    private static func name(of base: URL) -> String {
        let isDefault = base.port == (base.scheme == "https" ? 443 : 80)
        return isDefault ? base.host : "\(base.host):\(base.port)"
    }
}
