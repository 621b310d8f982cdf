// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import OCI
import RAFS

/// All layers folded into one tree, and the blobs that its files need.
struct MergedImage {
    /// The tree; chunk addresses name blobs by their position in `blobs`.
    private(set) var tree: FileTree
    /// The blobs that the tree needs, by blob index.
    private(set) var blobs: [ImageBlob]

    /// Folds the layers, lowest first.
    ///
    /// A chunk that several layers' blobs hold is taken from the lowest, or from the lowest that has
    /// it among what readers want first. Blobs are numbered in the order of their first use in a
    /// walk by levels; those that no file needs are left out.
    ///
    /// - Parameters:
    ///   - all: the layers.
    ///   - dictionary: the dictionary with which they were converted.
    ///   - limits: what the tree may cost.
    /// - Throws: `ContentError` if a layer contradicts those below, or there are too many.
    init(
        _ all: [ConvertedLayer],
        dictionary: ChunkDictionary = .empty,
        limits: LayerLimits = .standard
    ) throws(ContentError) {
        guard all.count <= Self.maximumLayerCount else {
            throw ContentError(
                .limitExceeded,
                "\(all.count) layers, at most \(Self.maximumLayerCount)"
            )
        }
        let best = Self.bestAddresses(of: all)
        var applier = LayerApplier(limits: limits)
        for (index, layer) in all.enumerated() {
            let blob = UInt16(truncatingIfNeeded: index)
            try applier.apply(layer.tree) { address in
                // The dictionary's blobs come after those of all layers.
                guard address.blob == 0 else {
                    return ChunkAddress(
                        blob: UInt16(all.count) + address.blob - 1,
                        index: address.index
                    )
                }
                let digest = layer.chunks[Int(address.index)].digest
                return best[digest] ?? ChunkAddress(blob: blob, index: address.index)
            }
        }
        tree = applier.tree
        let numbers = BlobNumbers(of: tree)
        tree.mapChunks { numbers.address($0) }
        blobs = numbers.used.map { number in
            guard Int(number) < all.count else {
                return .dictionary(dictionary.blobs[Int(number) - all.count])
            }
            var layer = all[Int(number)]
            // It has been merged: a bootstrap needs no more of it than the chunks.
            layer.tree = FileTree()
            return .layer(layer)
        }
    }

    /// Where each chunk is taken from.
    private static func bestAddresses(of layers: [ConvertedLayer]) -> [Digest: ChunkAddress] {
        var best: [Digest: ChunkAddress] = [:]
        for (number, layer) in layers.enumerated() {
            for (index, record) in layer.chunks.enumerated() {
                if let known = best[record.digest] {
                    let isFirst = known.index < layers[Int(known.blob)].firstCount
                    guard !isFirst, index < layer.firstCount else { continue }
                }
                best[record.digest] = ChunkAddress(
                    blob: UInt16(truncatingIfNeeded: number),
                    index: UInt32(index)
                )
            }
        }
        return best
    }

    /// The most layers: the numbers of dictionaries' blobs need room as well.
    private static let maximumLayerCount = Int(UInt16.max) - ChunkDictionary.maximumBlobCount

    /// The bootstrap of the whole image.
    ///
    /// - Parameters:
    ///   - options: how the image was converted.
    ///   - prefetch: what readers are to fetch first.
    /// - Returns: its bytes.
    /// - Throws: `ContentError` if the tree holds what RAFS v6 cannot.
    func bootstrap(
        _ options: ConversionOptions,
        prefetch: [FileTree.NodeID] = []
    ) throws(ContentError) -> [UInt8] {
        try bootstrap(
            chunkSize: options.chunkSize,
            flags: BootstrapWriter.flags(options.compressor, blobs: blobs.compactMap(\.entry)),
            prefetch: prefetch
        )
    }

    /// The bootstrap of the whole image, its chunks' form said by the words of RAFS.
    func bootstrap(
        chunkSize: UInt32,
        flags: BootstrapFlags,
        prefetch: [FileTree.NodeID] = []
    ) throws(ContentError) -> [UInt8] {
        var writer = BootstrapWriter(
            tree: tree,
            blobs: blobs.compactMap(\.entry),
            chunkSize: chunkSize,
            flags: flags
        )
        writer.prefetch = prefetch
        return try writer.write { blobs[Int($0.blob)].chunk(at: $0.index) }
    }
}
