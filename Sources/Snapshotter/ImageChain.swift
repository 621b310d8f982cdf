// SPDX-License-Identifier: Apache-2.0

import Compression
import Containerd
import Content
import Distribution
import OCI

/// The layers of a converted image with the names that containerd gives to stacks of them.
struct ImageChain: Sendable, Equatable {
    /// The image, by its manifest's digest.
    let image: Reference
    /// The layers' digests, lowest first.
    let layers: [Digest]
    /// For each layer the chain ID (image-spec, "Layer ChainID"): its own and those below it.
    let chainIDs: [Digest]

    /// The layers of an image.
    ///
    /// - Parameters:
    ///   - resolved: its documents, verified.
    ///   - image: names it.
    /// - Throws: `ContentError` if it is not converted, or its configuration does not follow from
    ///   its layers: what is provided under a chain ID must be what that chain stands for.
    init(_ resolved: ResolvedImage, _ image: Reference) throws(ContentError) {
        guard let last = resolved.manifest.bootstrapLayer else {
            throw .unsupported("\(image): not a converted image: its last layer has no bootstrap")
        }
        let diffIDs = resolved.config.diffIDs
        layers = resolved.manifest.layers.map(\.digest)
        guard diffIDs.count == layers.count else {
            throw .corrupt("\(image): \(layers.count) layers and \(diffIDs.count) diff_ids")
        }
        // The bootstrap layer's is compared when it is unpacked.
        for (layer, diffID) in zip(layers, diffIDs) where layer != last.digest {
            guard layer == diffID else {
                throw .corrupt(
                    "\(image): the diff_id of data layer \(layer) is \(diffID), expected its own"
                        + " digest"
                )
            }
        }
        chainIDs = Self.chainIDs(of: diffIDs)
        self.image = image
    }

    /// The chain IDs of a stack of layers.
    static func chainIDs(of diffIDs: [Digest]) -> [Digest] {
        var chain: [Digest] = []
        for diffID in diffIDs {
            let text = chain.last.map { Array("\($0.oci) \(diffID.oci)".utf8) }
            chain.append(text.map { StreamingDigest.digest(of: $0) } ?? diffID)
        }
        return chain
    }

    /// The place of the layer that is asked for.
    ///
    /// - Parameters:
    ///   - request: the layer.
    ///   - parent: the chain ID of the snapshot below, as its label has it; nil for none.
    /// - Returns: its index, the lowest layer's being 0; nil if the image has no such chain.
    /// - Throws: `failedPrecondition` if the request contradicts the image.
    func index(of request: RemoteLayerRequest, above parent: String?) throws(RPCStatus) -> Int? {
        guard let index = chainIDs.firstIndex(of: request.chainID) else { return nil }
        if let layer = request.layer, layer != layers[index] {
            throw RPCStatus(
                .failedPrecondition,
                "\(image): chain \(request.chainID) ends with layer \(layers[index]),"
                    + " the labels say \(layer)"
            )
        }
        let below = index == 0 ? nil : chainIDs[index - 1].oci
        guard parent == below else {
            throw RPCStatus(
                .failedPrecondition,
                "\(image): below chain \(request.chainID) comes \(below ?? "nothing"),"
                    + " the parent is \(parent ?? "nothing")"
            )
        }
        return index
    }

    /// How many layers a mount for a layer has; nil where it is the whole image: the bootstrap layer
    /// brings no files of its own.
    func mountedLayers(upTo index: Int) -> Int? {
        index >= layers.count - 2 ? nil : index + 1
    }
}
