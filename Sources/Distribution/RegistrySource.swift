// SPDX-License-Identifier: Apache-2.0

package import Content
import HTTP
package import OCI
import Synchronization

/// An image in a registry, to read.
///
/// What the tag stood for is asked once: all that is read afterwards is of the same image, whatever
/// the tag becomes.
package struct RegistrySource: ImageSource {
    let reader: RegistryReader

    /// The image; nothing is sent yet.
    ///
    /// - Parameters:
    ///   - reference: where it is.
    ///   - selection: which image is meant if the name leads to an index.
    ///   - access: how registries are reached.
    package init(_ reference: Reference, selection: ImageSelection, _ access: RegistryAccess) {
        reader = RegistryReader(reference, selection, access)
    }

    package var name: String { reader.name }

    package func resolve() throws -> ResolvedImage { try reader.resolve() }

    package func resolve(_ manifest: Descriptor) throws -> ResolvedImage {
        try reader.resolve(manifest)
    }

    package func manifests() throws -> [Descriptor] { try reader.manifests() }

    package func root() throws -> Descriptor { try reader.root() }

    package func referrers(of manifest: Descriptor) throws -> [Descriptor] {
        try reader.client.referrers(of: manifest.digest, ofType: nil).manifests
    }

    package func referrers(of manifest: Descriptor, ofType type: String) throws -> ReferrerList {
        try reader.client.referrers(of: manifest.digest, ofType: type)
    }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream { try reader.openBlob(blob) }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        RegistryBlobSource(reader.client, blob)
    }
}

/// Reads an image's documents from a registry, each once.
final class RegistryReader: ImageDocuments, Sendable {
    let name: String
    let selection: ImageSelection
    /// The repository.
    let client: RegistryClient
    private let reference: Reference
    private let documents = Mutex<[Digest: RegistryDocument]>([:])
    private let root = Mutex<Descriptor?>(nil)

    /// How many manifests are kept, which are asked for more than once.
    private static let keptDocuments = 64

    init(_ reference: Reference, _ selection: ImageSelection, _ access: RegistryAccess) {
        name = ImageName.registry(reference).description
        self.reference = reference
        self.selection = selection
        client = RegistryClient(reference, access)
    }

    func findRoot() throws(ContentError) -> Descriptor {
        if let known = root.withLock({ $0 }) { return known }
        let document: RegistryDocument
        do throws(ContentError) {
            document = try client.manifest(reference.manifestName, reference.digest)
        } catch {
            guard error.kind == .notFound, reference.digest == nil else { throw error }
            throw client.namingTags(error)
        }
        keep(document)
        root.withLock { $0 = document.descriptor }
        return document.descriptor
    }

    private func keep(_ document: RegistryDocument) {
        documents.withLock { documents in
            if documents.count >= Self.keptDocuments { documents.removeAll() }
            documents[document.descriptor.digest] = document
        }
    }

    func openBlob(_ blob: Descriptor) throws(ContentError) -> AnyByteStream {
        guard blob.mediaType.isManifest || blob.mediaType.isIndex else {
            if blob.size <= RegistryClient.smallSize {
                return AnyByteStream(ArrayStream(try client.smallBlob(blob)))
            }
            return AnyByteStream(RegistryBlobStream(try BlobReader(client, blob)))
        }
        if let known = documents.withLock({ $0[blob.digest] }) {
            return AnyByteStream(ArrayStream(known.bytes))
        }
        let document = try client.manifest(blob.digest.oci, blob.digest)
        keep(document)
        return AnyByteStream(ArrayStream(document.bytes))
    }
}
