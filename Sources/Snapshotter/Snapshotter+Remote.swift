// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Linux
import Log
import OCI

/// What makes a committed snapshot lazy: its files are those of an image's layers, which nobody has
/// downloaded.
struct LazyLayer: Sendable, Equatable {
    /// The manifest's digest.
    var image: Digest
    /// Where the image is: registry and repository, with the same digest.
    var reference: String
    /// Which layer it is, the lowest being 0.
    var index: Int
}

/// The directories below a snapshot.
struct LowerLayers: Sendable {
    /// From the top.
    var paths: [String] = []
    /// Whether the lowest is an image's mount.
    var isLazy = false
}

extension Snapshotter {
    /// Provides a layer of a converted image, so that containerd does not download it.
    ///
    /// Nothing happens if it is not for us to provide.
    ///
    /// - Throws: `alreadyExists` once it is provided; the reason why it cannot be, which fails the
    ///   pull: nobody else could make anything of it.
    func provide(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws {
        guard let images else { return }
        guard let request = try RemoteLayerRequest(labels) else {
            return try refuseUnlabelled(key, labels, images, context)
        }
        context.willBlock()
        let below = try store.read { rows in
            try rows.parentForNew(key, parent).flatMap { try rows.snapshot(id: $0)?.record }
        }
        let isThere = try store.read { rows in
            try rows.hasLazySnapshot(request.chainID, on: below?.id)
        }
        if !isThere { try add(request, below, labels, images, context) }
        throw RPCStatus(.alreadyExists, "layer \(request.chainID) is provided")
    }

    /// Fails the unpacking of a converted image's layer: it is no archive, and containerd before 2.1
    /// would say no more than that it does not know its type.
    ///
    /// `ctr images pull` there tells nothing but the key, which ends with the chain ID.
    private func refuseUnlabelled(
        _ key: String,
        _ labels: [String: String],
        _ images: LazyImages,
        _ context: CallContext
    ) throws {
        // containerd puts namespace and number before the client's key.
        guard labels[SnapshotLabels.target] == nil,
            key.split(separator: "/").last?.hasPrefix("extract-") == true,
            let chainID = key.split(separator: " ").last.flatMap({ Digest(oci: String($0)) })
        else { return }
        context.willBlock()
        // Without containerd's help ordinary images are unpacked as ever.
        guard let image = try? images.locate(chainID).first else { return }
        throw RPCStatus(
            .failedPrecondition,
            "\(image) is a converted image, and the client does not say so; \(Self.clients)"
        )
    }

    private func add(
        _ request: RemoteLayerRequest,
        _ below: SnapshotRecord?,
        _ labels: [String: String],
        _ images: LazyImages,
        _ context: CallContext
    ) throws {
        var names = request.image.map { [$0] } ?? []
        if names.isEmpty { names = try images.locate(request.chainID) }
        guard let last = names.popLast() else {
            throw RPCStatus(
                .failedPrecondition,
                "layer \(request.chainID) is of a converted image, which the client does not name,"
                    + " nor has containerd kept where it came from; \(Self.clients)"
            )
        }
        for name in names {
            // The same image in another repository: one that may be read is enough.
            if (try? add(request, name, below, labels, images, context)) != nil { return }
        }
        try add(request, last, below, labels, images, context)
    }

    /// Which clients name the image.
    static let clients =
        "the CRI with disable_snapshot_annotations = false, nerdctl and ctr-remote name it,"
        + " and ctr since containerd 2.1 leads to it (lazypull-serve-snapshotter(1))"

    private func add(
        _ request: RemoteLayerRequest,
        _ name: Reference,
        _ below: SnapshotRecord?,
        _ labels: [String: String],
        _ images: LazyImages,
        _ context: CallContext
    ) throws {
        for isFresh in [false, true] {
            // What a tag stood for a moment ago may have been another image.
            guard !isFresh || name.digest == nil else { break }
            let isFound = try images.withImage(name, isFresh: isFresh) { chain in
                try context.checkIsWanted()
                let parent = below.map { $0.labels[SnapshotLabels.target] ?? $0.name }
                guard let index = try chain.index(of: request, above: parent) else { return false }
                try record(request, below, labels, chain, index, images)
                return true
            }
            if isFound { return }
        }
        throw RPCStatus(
            .failedPrecondition,
            "\(name): no layer of this image has chain ID \(request.chainID):"
                + " what is asked for does not follow from manifest and configuration"
        )
    }

    /// Writes the row of a layer; the image is pinned.
    private func record(
        _ request: RemoteLayerRequest,
        _ below: SnapshotRecord?,
        _ labels: [String: String],
        _ chain: ImageChain,
        _ index: Int,
        _ images: LazyImages
    ) throws {
        guard let image = chain.image.digest else { return }
        let layer = LazyLayer(image: image, reference: "\(chain.image)", index: index)
        // With the last layer the image is complete: what is wrong with it fails the pull, not the
        // container.
        if index == chain.layers.count - 1 { _ = try images.mountPoint(layer) }
        try insert(layer, request.chainID, below, labels, images)
    }

    /// Writes the row of a layer whose image is pinned.
    ///
    /// - Parameters:
    ///   - layer: the layer.
    ///   - chainID: its chain ID.
    ///   - below: the snapshot below; nil for none.
    ///   - labels: the call's.
    ///   - images: has the image.
    /// - Throws: an error if the row cannot be written.
    func insert(
        _ layer: LazyLayer,
        _ chainID: Digest,
        _ below: SnapshotRecord?,
        _ labels: [String: String],
        _ images: LazyImages
    ) throws {
        let now = CurrentProcess.nanosecondsSince1970
        let id = beginNumber()
        defer { endNumber(id) }
        var record = SnapshotRecord(
            id: id,
            name: chainID.oci,
            parentID: below?.id,
            kind: .committed,
            createdAt: now,
            updatedAt: now,
            labels: labels.filter { !$0.value.isEmpty && !SnapshotLabels.isSecret($0.key) },
            usage: SnapshotUsage(inodes: 0, size: 0)
        )
        record.lazy = layer
        // Another snapshot may have the name, on another parent: then the number goes with it, also
        // in the sidecar.
        if try store.read({ rows in try rows.snapshot(record.name) }) != nil {
            record.name += "/\(id)"
        }
        try insert(record, chainID)
    }

    private func insert(_ record: SnapshotRecord, _ chainID: Digest) throws {
        do {
            try directories.make(record, owner: nil)
            let isNew = try store.write("provide") { rows in
                let below = try record.parentID.flatMap { try rows.snapshot(id: $0) }
                if let parent = record.parentID, below == nil {
                    throw RPCStatus(.notFound, "parent snapshot \(parent) was removed meanwhile")
                }
                if try rows.hasLazySnapshot(chainID, on: record.parentID) { return false }
                guard try rows.snapshot(record.name) == nil else {
                    throw RPCStatus(.aborted, "another layer of this name was made meanwhile")
                }
                try rows.insert(NamedRecord(record: record, parent: below?.record.name ?? ""))
                return true
            }
            if isNew {
                housekeeper.settle(record.id)
                logger.debug("layer provided", ["layer": chainID, "snapshot": record.id])
                return
            }
        } catch {
            discardUnused(record.id)
            throw error
        }
        discardUnused(record.id)
    }

    /// The directories below a snapshot; an image is mounted if it is not.
    ///
    /// - Parameters:
    ///   - parentID: the number of the snapshot below; nil for none.
    ///   - context: the call's.
    /// - Returns: them, from the top.
    /// - Throws: an error that says why the image cannot be mounted.
    func lower(_ parentID: Int64?, _ context: CallContext) throws -> LowerLayers {
        guard let parentID else { return LowerLayers() }
        var lower = LowerLayers()
        for link in try store.chain(from: parentID) {
            guard let layer = link.lazy else {
                lower.paths.append(directories.upper(link.id))
                continue
            }
            guard let images else {
                throw RPCStatus(
                    .failedPrecondition,
                    "snapshot \(link.id) is of \(layer.reference), and no images are mounted here"
                )
            }
            context.willBlock()
            // All that is below is in it.
            lower.paths.append(try images.mountPoint(layer))
            lower.isLazy = true
            break
        }
        return lower
    }
}
