// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import OCI

/// A layer of a converted image that containerd asks for before it downloads it, as `Prepare`'s
/// labels tell.
///
/// containerd passes a layer's annotations that begin with `containerd.io/snapshot/` on: so a layer
/// says by itself whether it belongs to a converted image, and no registry is asked because of
/// others.
struct RemoteLayerRequest: Sendable, Equatable {
    /// The chain ID wanted: the layer's, with all below it.
    let chainID: Digest
    /// The layer's own digest; nil if the client does not tell.
    let layer: Digest?
    /// The image, by its manifest's digest where the client tells it; nil if it names none.
    let image: Reference?

    /// What CRI, nerdctl and containerd's transfer service say (containerd, pkg/snapshotters).
    static let cri = "containerd.io/snapshot/cri."
    /// What ctr-remote and BuildKit say (stargz-snapshotter, fs/source).
    static let stargz = "containerd.io/snapshot/remote/stargz."

    /// The request in the labels of a `Prepare`; nil for a snapshot that is no layer of a
    /// converted image.
    ///
    /// - Parameter labels: the call's.
    /// - Throws: `invalidArgument` if they name an image or a digest that is none.
    init?(_ labels: [String: String]) throws(RPCStatus) {
        guard let chainID = labels[SnapshotLabels.target].flatMap({ Digest(oci: $0) }),
            labels[NydusAnnotation.blob] == "true" || labels[NydusAnnotation.bootstrap] == "true"
        else { return nil }
        self.chainID = chainID
        let byCRI = try Self.digest(labels, Self.cri + "layer-digest")
        let byStargz = try Self.digest(labels, Self.stargz + "digest")
        layer = byCRI ?? byStargz
        let names = [Self.cri + "image-ref", Self.stargz + "reference"]
        guard let label = names.first(where: { labels[$0]?.isEmpty == false }),
            let text = labels[label]
        else {
            image = nil
            return
        }
        let manifest = try Self.digest(labels, Self.cri + "manifest-digest")
        do throws(ContentError) {
            let reference = try Reference(text)
            if let manifest {
                image = try reference.named(by: manifest)
            } else {
                image = reference
            }
        } catch {
            throw RPCStatus(.invalidArgument, "label \(label): \(error)")
        }
    }

    private static func digest(
        _ labels: [String: String],
        _ label: String
    ) throws(RPCStatus) -> Digest? {
        guard let text = labels[label] else { return nil }
        guard let digest = Digest(oci: text) else {
            throw RPCStatus(.invalidArgument, "label \(label): no digest: \(text.prefix(160))")
        }
        return digest
    }
}

extension Reference {
    /// The image of a manifest in the same repository, whatever a tag stands for.
    func named(by digest: Digest) throws(ContentError) -> Reference {
        try Reference("\(registry)/\(repository)@\(digest)")
    }
}
