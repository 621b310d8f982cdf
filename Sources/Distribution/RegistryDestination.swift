// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
import Log
package import OCI
import Synchronization

/// An image in a registry, to write.
package final class RegistryDestination: ImageDestination {
    package let name: String
    private let client: RegistryClient
    /// Blobs that are known to be there.
    private let known = Mutex<Set<Digest>>([])

    /// How often a blob is sent from its beginning, where a registry loses uploads.
    private static let attempts = 3

    /// The place; nothing is sent yet.
    ///
    /// - Parameters:
    ///   - reference: where the image goes; without a digest, which would turn out as it may.
    ///   - access: how registries are reached.
    /// - Throws: `ContentError` for a reference with a digest.
    package init(_ reference: Reference, _ access: RegistryAccess) throws(ContentError) {
        guard reference.digest == nil else {
            throw .unsupported("\(reference): a target is named by a tag, not by a digest")
        }
        name = ImageName.registry(reference).description
        client = RegistryClient(reference, access)
    }

    package func makeBlob() throws -> any BlobUpload {
        RegistryUpload(client, at: try client.pushHost())
    }

    package func hasBlob(_ blob: Descriptor) throws -> Bool {
        if known.withLock({ $0.contains(blob.digest) }) { return true }
        guard try client.hasBlob(blob, at: try client.pushHost()) else { return false }
        note(blob.digest)
        return true
    }

    private func note(_ digest: Digest) {
        known.withLock { _ = $0.insert(digest) }
    }

    package func copyBlob(
        _ blob: Descriptor,
        from source: any ImageSource,
        progress: ByteCounter?
    ) throws -> Bool {
        if try hasBlob(blob) { return false }
        if try mount(blob, from: source) {
            note(blob.digest)
            return false
        }
        for attempt in 1... {
            do {
                try streamBlob(blob, from: source, progress: progress)
                break
            } catch let error as ContentError {
                let isNamed = error.message.contains("\(blob.digest)")
                let error = isNamed ? error : error.at("blob \(blob.digest)")
                guard error.kind == .inputOutput, !error.wasRetried, attempt < Self.attempts
                else { throw error }
                client.access.log.info(
                    "blob sent again",
                    ["registry": client.registry, "blob": blob.digest, "cause": error]
                )
            }
        }
        note(blob.digest)
        return true
    }

    /// Has the registry take a blob from another repository of its own.
    private func mount(_ blob: Descriptor, from source: any ImageSource) throws -> Bool {
        guard let source = source as? RegistrySource,
            source.reader.client.registry == client.registry
        else { return false }
        let beginning = try UploadSession.begin(
            client,
            at: try client.pushHost(),
            mounting: (blob.digest, source.reader.client.repository)
        )
        // A session that nobody uses ends by itself.
        guard case .mounted = beginning else { return false }
        return true
    }

    package func hasManifest(_ manifest: Descriptor, tag: String?) throws -> Bool {
        let name = tag ?? manifest.digest.oci
        return try client.findManifest(name, at: try client.pushHost()) == manifest.digest
    }

    package func put(
        manifest: [UInt8],
        mediaType: MediaType,
        tag: String?
    ) throws -> Descriptor {
        let host = try client.pushHost()
        let descriptor = Descriptor(
            mediaType: mediaType,
            digest: StreamingDigest.digest(of: manifest),
            size: UInt64(manifest.count)
        )
        let name = tag ?? descriptor.digest.oci
        let isNoted = try client.putManifest(manifest, mediaType, name, at: host)
        let document = try JSONValue(parsing: manifest, document: "manifest")
        if !isNoted, let subject = document["subject"]?["digest"]?.text.flatMap({ Digest(oci: $0) })
        {
            try client.addReferrer(descriptor, document, of: subject, at: host)
        }
        return descriptor
    }
}
