// SPDX-License-Identifier: Apache-2.0

import Compression
import Containerd
package import Content
import Distribution
package import OCI
import Synchronization

/// Finds images by what containerd keeps of a pull: the manifest, the configuration, and as labels
/// of the manifest the repositories that it came from.
///
/// Only the name comes from there: what is provided is fetched from its registry, and verified, as
/// if the client had named it. So a client that may not have an image does not get it this way.
package final class ContentLocator: ImageLocator {
    /// Manifests of which containerd has the configuration, too.
    private static let manifests = "labels.\"containerd.io/gc.ref.content.config\""
    /// The registry follows, without its port; the value has repositories, joined with commas.
    private static let source = "containerd.io/distribution.source."
    /// How many manifests are remembered.
    private static let limit = 4_096

    private let address: String
    private let registries: @Sendable (String) -> [String]
    /// The chain IDs of converted images, by their manifests; none of others.
    private let known = Mutex<[Digest: [Digest]]>([:])

    /// A locator; nobody is asked yet.
    ///
    /// - Parameters:
    ///   - address: the absolute path of containerd's socket.
    ///   - registries: the registries that may be meant by a host's name without a port.
    package init(address: String, registries: @escaping @Sendable (String) -> [String]) {
        self.address = address
        self.registries = registries
    }

    package func images(withChain chainID: Digest) throws -> [Reference] {
        let client = ContentClient(address: address)
        var found: [Reference] = []
        for namespace in try client.namespaces() {
            for manifest in try client.blobs(Self.manifests, in: namespace) {
                guard let digest = Digest(oci: manifest.digest),
                    try chains(of: digest, in: namespace, client).contains(chainID)
                else { continue }
                for name in try names(manifest.labels, digest) where !found.contains(name) {
                    found.append(name)
                }
            }
        }
        return found
    }

    private func names(
        _ labels: [String: String],
        _ digest: Digest
    ) throws(ContentError) -> [Reference] {
        var names: [Reference] = []
        for (label, repositories) in labels.sorted(by: { $0.key < $1.key })
        where label.hasPrefix(Self.source) {
            for registry in registries(String(label.dropFirst(Self.source.count))) {
                for repository in repositories.split(separator: ",") {
                    names.append(try Reference("\(registry)/\(repository)@\(digest)"))
                }
            }
        }
        return names
    }

    private func chains(
        of manifest: Digest,
        in namespace: String,
        _ client: ContentClient
    ) throws -> [Digest] {
        if let chains = known.withLock({ $0[manifest] }) { return chains }
        var chains: [Digest] = []
        do {
            chains = try read(manifest, in: namespace, client)
        } catch let error as RPCStatus where error.code == .notFound {
            // It may come yet.
            return []
        } catch is ContentError {
            // No converted image, and never will be.
        }
        known.withLock { known in
            if known.count >= Self.limit { known.removeAll() }
            known[manifest] = chains
        }
        return chains
    }

    private func read(
        _ digest: Digest,
        in namespace: String,
        _ client: ContentClient
    ) throws -> [Digest] {
        func document(_ digest: Digest) throws -> [UInt8] {
            let bytes = try client.blob(digest.oci, in: namespace, limit: JSONValue.documentLimit)
            guard StreamingDigest.digest(of: bytes) == digest else {
                throw ContentError.corrupt("containerd's blob \(digest) is not of this digest")
            }
            return bytes
        }
        let bytes = try document(digest)
        // As Docker calls it, it is never a converted image's.
        let descriptor = Descriptor(mediaType: .manifest, digest: digest, size: UInt64(bytes.count))
        let image = try ResolvedImage(descriptor: descriptor, manifestBytes: bytes) { config in
            try document(config.digest)
        }
        // Which repository it is in does not matter here.
        return try ImageChain(image, Reference("image@\(digest)")).chainIDs
    }
}
