// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import OCI
import RAFS

/// All layers folded into one tree, and the blobs that its files need.
struct MergedImage {
    /// The tree; chunk addresses name blobs by their position in `layers`.
    private(set) var tree: FileTree
    /// The layers whose blobs the tree needs, by blob index.
    private(set) var layers: [ConvertedLayer]

    /// Folds the layers, lowest first.
    ///
    /// A chunk that several blobs hold is taken from the lowest. Blobs are numbered in the order
    /// of their first use in a walk by levels; those that no file needs are left out.
    ///
    /// - Parameters:
    ///   - all: the layers.
    ///   - limits: what the tree may cost.
    /// - Throws: `ContentError` if a layer contradicts those below, or there are too many.
    init(_ all: [ConvertedLayer], limits: LayerLimits = .standard) throws(ContentError) {
        guard all.count <= Int(UInt16.max) else {
            throw ContentError(.limitExceeded, "\(all.count) layers, at most \(UInt16.max)")
        }
        var lowest: [Digest: ChunkAddress] = [:]
        var applier = LayerApplier(limits: limits)
        for (index, layer) in all.enumerated() {
            let blob = UInt16(truncatingIfNeeded: index)
            for (chunk, record) in layer.chunks.enumerated() where lowest[record.digest] == nil {
                lowest[record.digest] = ChunkAddress(blob: blob, index: UInt32(chunk))
            }
            try applier.apply(layer.tree) { address in
                let digest = layer.chunks[Int(address.index)].digest
                return lowest[digest] ?? ChunkAddress(blob: blob, index: address.index)
            }
        }
        tree = applier.tree
        var numbers: [UInt16: UInt16] = [:]
        var used: [ConvertedLayer] = []
        tree.walkBreadthFirst { visit in
            for chunk in applier.tree[visit.node].chunks where numbers[chunk.blob] == nil {
                numbers[chunk.blob] = UInt16(used.count)
                var layer = all[Int(chunk.blob)]
                // It has been merged: a bootstrap needs no more of it than the chunks.
                layer.tree = FileTree()
                used.append(layer)
            }
        }
        tree.mapChunks { address in
            ChunkAddress(blob: numbers[address.blob] ?? address.blob, index: address.index)
        }
        layers = used
    }

    /// The bootstrap of the whole image.
    ///
    /// - Parameter options: how the image was converted.
    /// - Returns: its bytes.
    /// - Throws: `ContentError` if the tree holds what RAFS v6 cannot.
    func bootstrap(_ options: ConversionOptions) throws(ContentError) -> [UInt8] {
        let blobs = layers.compactMap { layer in
            guard var entry = layer.entry else { return BlobTableEntry?.none }
            entry.id = layer.blob.digest.hex
            // While the blob was written the end of it was not known.
            entry.compressedSize = layer.blob.size
            entry.features.remove(.inlinedBootstrap)
            return entry
        }
        let writer = BootstrapWriter(
            tree: tree,
            blobs: blobs,
            chunkSize: options.chunkSize,
            flags: BootstrapWriter.flags(options.compressor)
        )
        return try writer.write { layers[Int($0.blob)].chunks[Int($0.index)] }
    }
}
