// SPDX-License-Identifier: Apache-2.0

import Content

/// The annotations by which an image says that it is converted (nydus image convention).
package enum NydusAnnotation {
    /// On a layer that is a RAFS data blob: "true".
    package static let blob = "containerd.io/snapshot/nydus-blob"
    /// On the layer that carries the bootstrap: "true".
    package static let bootstrap = "containerd.io/snapshot/nydus-bootstrap"
    /// The version of RAFS: "6".
    package static let version = "containerd.io/snapshot/nydus-fs-version"
    /// On the manifest: the digest of the manifest that was converted.
    package static let sourceDigest = "containerd.io/snapshot/nydus-source-digest"
}

extension Manifest {
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
