// SPDX-License-Identifier: Apache-2.0

package import Content

/// A media type, as descriptors name it.
package struct MediaType: Hashable, Sendable, CustomStringConvertible {
    /// The type's text.
    package var text: String

    /// The type with the text.
    package init(_ text: String) {
        self.text = text
    }

    package var description: String { text }

    /// An image manifest of OCI.
    package static let manifest = MediaType("application/vnd.oci.image.manifest.v1+json")
    /// An index of OCI: several manifests under one name.
    package static let index = MediaType("application/vnd.oci.image.index.v1+json")
    /// An image configuration of OCI.
    package static let config = MediaType("application/vnd.oci.image.config.v1+json")
    /// A layer of OCI, as tar.
    package static let layer = MediaType("application/vnd.oci.image.layer.v1.tar")
    /// A layer of OCI, as tar in gzip.
    package static let layerGzip = MediaType("application/vnd.oci.image.layer.v1.tar+gzip")
    /// A layer of OCI, as tar in zstd.
    package static let layerZstd = MediaType("application/vnd.oci.image.layer.v1.tar+zstd")
    /// A data blob of RAFS, as Nydus names it.
    package static let nydusBlob = MediaType("application/vnd.oci.image.layer.nydus.blob.v1")
    /// An image manifest of Docker, schema 2.
    package static let dockerManifest = MediaType(
        "application/vnd.docker.distribution.manifest.v2+json"
    )
    /// Several manifests under one name, of Docker.
    package static let dockerManifestList = MediaType(
        "application/vnd.docker.distribution.manifest.list.v2+json"
    )
    /// An image configuration of Docker.
    package static let dockerConfig = MediaType("application/vnd.docker.container.image.v1+json")
    /// A layer of Docker, as tar.
    package static let dockerLayer = MediaType("application/vnd.docker.image.rootfs.diff.tar")
    /// A layer of Docker, as tar in gzip.
    package static let dockerLayerGzip = MediaType(
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    )
    /// A layer of Docker, as tar in zstd.
    package static let dockerLayerZstd = MediaType(
        "application/vnd.docker.image.rootfs.diff.tar.zstd"
    )

    /// Whether it names a manifest of one image.
    package var isManifest: Bool { self == .manifest || self == .dockerManifest }

    /// Whether it names an index or manifest list.
    package var isIndex: Bool { self == .index || self == .dockerManifestList }
}

/// What a layer descriptor's media type says of its bytes.
package enum LayerMediaType: Sendable, Equatable {
    case tar
    case tarGzip
    case tarZstd
    /// A data blob of RAFS.
    case nydusBlob

    /// What the type says.
    ///
    /// - Parameter type: a layer descriptor's media type.
    /// - Throws: `ContentError` for layers that must be fetched from elsewhere, are encrypted, or
    ///   are no file system changes at all.
    package init(_ type: MediaType) throws(ContentError) {
        switch type {
        case .layer, .dockerLayer: self = .tar
        case .layerGzip, .dockerLayerGzip: self = .tarGzip
        case .layerZstd, .dockerLayerZstd: self = .tarZstd
        case .nydusBlob: self = .nydusBlob
        default:
            if type.text.contains(".nondistributable.") || type.text.contains(".foreign.") {
                throw .unsupported("layers that may not be distributed are not supported (\(type))")
            }
            if type.text.hasSuffix("+encrypted") {
                throw .unsupported("encrypted layers are not supported (\(type))")
            }
            throw .unsupported("layers of media type \(type.text.prefix(160)) are not supported")
        }
    }
}
