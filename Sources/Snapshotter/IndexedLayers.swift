// SPDX-License-Identifier: Apache-2.0
//
// Ordinary images that run from their own layers, by an index over them:
// 1. The first of an image's layers that is asked for has the index looked for; the answer is
//    remembered. Without one, or where anything is wrong with it, the image is pulled as usual.
// 2. With one, the image is mounted before the first layer is answered to exist: what is wrong with
//    the index is found out while the layers can still be pulled.
// 3. A layer is provided only under the chain ID that follows from the image's own configuration.

import Containerd
import Content
import Distribution
import Linux
import Log
import OCI

/// A layer of an ordinary image that containerd asks for before it downloads it.
struct OrdinaryLayerRequest: Sendable, Equatable {
    /// The chain ID wanted: the layer's, with all below it.
    let chainID: Digest
    /// The layer's own digest; nil if the client does not tell.
    let layer: Digest?
    /// The image as the client names it.
    let image: Reference
    /// The image's manifest; nil if the client does not tell.
    let manifest: Digest?

    /// The request in the labels of a `Prepare`; nil for a snapshot that is no layer, or of an image
    /// that the client does not name, or of a converted one.
    init?(_ labels: [String: String]) {
        typealias Labels = RemoteLayerRequest
        guard let chainID = labels[SnapshotLabels.target].flatMap({ Digest(oci: $0) }),
            labels[NydusAnnotation.blob] == nil, labels[NydusAnnotation.bootstrap] == nil,
            let text = labels[Labels.cri + "image-ref"] ?? labels[Labels.stargz + "reference"],
            let image = try? Reference(text)
        else { return nil }
        self.chainID = chainID
        self.image = image
        layer = (labels[Labels.cri + "layer-digest"] ?? labels[Labels.stargz + "digest"])
            .flatMap { Digest(oci: $0) }
        manifest = labels[Labels.cri + "manifest-digest"].flatMap { Digest(oci: $0) }
    }

    /// What answers are remembered under.
    var key: String { manifest.map { "\(image) \($0)" } ?? "\(image)" }
}

extension Snapshotter {
    /// Provides a layer of an ordinary image that there is an index over, so that containerd does
    /// not download it.
    ///
    /// Nothing happens if it is not for us to provide.
    ///
    /// - Throws: `alreadyExists` once it is provided; the reason why the state cannot be kept.
    func provideByIndex(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws {
        guard let images, images.mounter.findsIndexes,
            let request = OrdinaryLayerRequest(labels)
        else { return }
        let below = try store.read { rows in
            try rows.parentForNew(key, parent).flatMap { try rows.snapshot(id: $0)?.record }
        }
        let isThere = try store.read { rows in
            try rows.hasLazySnapshot(request.chainID, on: below?.id)
        }
        if !isThere {
            context.willBlock()
            let parent = below.map { $0.labels[SnapshotLabels.target] ?? $0.name }
            guard let image = images.indexedImage(of: request),
                let position = image.position(of: request, above: parent),
                let digest = image.index.digest
            else { return }
            let layer = LazyLayer(image: digest, reference: "\(image.index)", index: position)
            try images.withImage(image.index) { _ in
                try context.checkIsWanted()
                try insert(layer, request.chainID, below, labels, images)
            }
        }
        throw RPCStatus(.alreadyExists, "layer \(request.chainID) is provided")
    }
}

extension LazyImages {
    /// The image of a layer with the index over it, which is mounted.
    ///
    /// - Returns: nil where there is none, or it cannot be used, which was logged.
    func indexedImage(of request: OrdinaryLayerRequest) -> IndexedImage? {
        let answer = try? alone("index of \(request.key)") { () -> IndexedImage? in
            let now = CurrentProcess.monotonicNanoseconds
            if let known = indexAnswers.known(request.key, now: now) { return known }
            do {
                let found = try findIndex(of: request)
                indexAnswers.keep(
                    found,
                    for: request.key,
                    isLasting: request.manifest != nil || request.image.digest != nil,
                    now: now
                )
                return found
            } catch {
                log.warning(
                    "no index of an image can be used: its layers are pulled",
                    ["image": request.image, "error": "\(error)"]
                )
                indexAnswers.keep(nil, for: request.key, isLasting: false, now: now)
                return nil
            }
        }
        return answer ?? nil
    }

    private func findIndex(of request: OrdinaryLayerRequest) throws -> IndexedImage? {
        guard let found = try mounter.index(over: request.image, manifest: request.manifest)
        else {
            log.debug("an image has no index", ["image": request.image])
            return nil
        }
        let image = try IndexedImage(found, in: request.image)
        let layer = LazyLayer(
            image: found.index.descriptor.digest,
            reference: "\(image.index)",
            index: image.layers.count
        )
        try withImage(image.index) { chain in
            guard chain.layers.count == image.layers.count + 1 else {
                throw ContentError.corrupt(
                    "\(image.index): \(chain.layers.count - 1) layers, the image has"
                        + " \(image.layers.count)"
                )
            }
            _ = try mountPoint(layer)
        }
        log.info(
            "an image runs from its own layers, by an index over them",
            [
                "image": request.image, "index": image.index,
                "found": found.place.rawValue, "layers": image.layers.count,
            ]
        )
        return image
    }
}
