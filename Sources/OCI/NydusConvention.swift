// SPDX-License-Identifier: Apache-2.0

package import Content

/// The annotations by which an image says that it is converted (nydus image convention).
package enum NydusAnnotation {
    /// On a layer that is a RAFS data blob: "true".
    package static let blob = "containerd.io/snapshot/nydus-blob"
    /// On a layer that holds the metadata of a layer of an ordinary image: the digest of that.
    package static let reference = "containerd.io/snapshot/nydus-ref"
    /// On the layer that carries the bootstrap: "true".
    package static let bootstrap = "containerd.io/snapshot/nydus-bootstrap"
    /// The version of RAFS: "6".
    package static let version = "containerd.io/snapshot/nydus-fs-version"
    /// On the manifest: the digest of the manifest that was converted.
    package static let sourceDigest = "containerd.io/snapshot/nydus-source-digest"
}

/// How an index says of one of its manifests that it is converted.
package enum NydusConvention {
    /// The descriptor's artifactType, since nydus 2.3.5.
    package static let artifactType = "application/vnd.nydus.image.manifest.v1+json"
    /// In the platform's os.features, before that.
    package static let osFeature = "nydus.remoteimage.v1"
    /// The configuration's media type where artifactType is used, as nydus writes it.
    package static let configMediaType = MediaType("application/vnd.nydus.image.config.v1+json")
}

extension Manifest {
    /// Refuses what is no container image, by the name it gives itself.
    ///
    /// - Throws: `ContentError`: Helm charts, signatures, models and whatever else is kept in
    ///   registries has another artifactType, or a configuration of another media type.
    package func checkIsImage() throws(ContentError) {
        let artifactType: String? =
            if case .string(let text)? = otherFields["artifactType"], !text.isEmpty { text } else {
                nil
            }
        if let artifactType, artifactType != NydusConvention.artifactType {
            throw .unsupported("no container image, but an artifact of type \(artifactType)")
        }
        let types: [MediaType] = [.config, .dockerConfig, NydusConvention.configMediaType]
        guard types.contains(config.mediaType) else {
            throw .unsupported(
                "no container image: its configuration is of type \(config.mediaType)"
            )
        }
    }

    /// The layer that carries the bootstrap, which is the last; nil for an ordinary image.
    package var bootstrapLayer: Descriptor? {
        guard let last = layers.last, last.annotations[NydusAnnotation.bootstrap] == "true" else {
            return nil
        }
        return last
    }

    /// The RAFS data blobs among the layers.
    package var dataBlobs: [Descriptor] {
        layers.filter {
            $0.mediaType == .nydusBlob || $0.annotations[NydusAnnotation.blob] == "true"
        }
    }
}

extension Descriptor {
    /// The layer of an ordinary image whose metadata this one holds; nil if it holds its own data.
    package var originalLayer: Digest? {
        annotations[NydusAnnotation.reference].flatMap { Digest(oci: $0) }
    }
}
