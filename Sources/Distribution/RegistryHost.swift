// SPDX-License-Identifier: Apache-2.0

import HTTP

/// A host that serves a registry's repositories: the registry itself, or a mirror of it.
struct RegistryHost: Sendable, Hashable {
    /// What a host may be asked for.
    struct Capabilities: OptionSet, Sendable, Hashable {
        let rawValue: Int

        /// Blobs, and manifests by digest.
        static let pull = Capabilities(rawValue: 1)
        /// Manifests by tag.
        static let resolve = Capabilities(rawValue: 2)
        /// Uploads.
        static let push = Capabilities(rawValue: 4)

        static let all: Capabilities = [.pull, .resolve, .push]
    }

    /// The address that repositories' names follow after a slash: `https://host/v2`.
    var base: URL
    /// What it may be asked for.
    var capabilities: Capabilities
    /// How to speak TLS with it.
    var tls = TLSSettings()
    /// What it wants with each request.
    var headers: [HTTPHeader] = []
    /// The registry it is a mirror of, which it is told; nil for the registry itself.
    var namespace: String?
}
