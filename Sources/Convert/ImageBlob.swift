// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import RAFS

/// A data blob that an image's tree names: a layer's own, or one of a chunk dictionary.
enum ImageBlob: Sendable {
    case layer(ConvertedLayer)
    case dictionary(ChunkDictionary.Blob)

    /// The blob's digest.
    var digest: Digest {
        switch self {
        case .layer(let layer): layer.blob.digest
        case .dictionary(let blob): blob.descriptor.digest
        }
    }

    /// The blob as the bootstrap of a whole image names it; nil if it has no chunk.
    var entry: BlobTableEntry? {
        switch self {
        case .layer(let layer):
            guard var entry = layer.entry else { return nil }
            entry.id = layer.blob.digest.hex
            // While the blob was written the end of it was not known.
            entry.compressedSize = layer.blob.size
            entry.features.remove(.inlinedBootstrap)
            return entry
        case .dictionary(let blob):
            return blob.entry
        }
    }

    /// The chunk-info table in its file form.
    var chunkInfoFile: [UInt8] {
        switch self {
        case .layer(let layer): layer.chunkInfoFile
        case .dictionary(let blob): blob.records.infoFile
        }
    }

    /// The digests of all chunks, by index.
    var chunkDigests: [UInt8] {
        switch self {
        case .layer(let layer): layer.chunks.flatMap { $0.digest.bytes }
        case .dictionary(let blob): blob.records.digests
        }
    }

    /// The record of a chunk; nil if the blob has no such chunk.
    func chunk(at index: UInt32) -> Chunk? {
        switch self {
        case .layer(let layer):
            Int(index) < layer.chunks.count ? layer.chunks[Int(index)] : nil
        case .dictionary(let blob):
            blob.chunk(at: index)
        }
    }
}

/// The blobs that a tree's chunk addresses name, numbered in the order of their first use in a walk
/// by levels.
struct BlobNumbers {
    /// The old number of each blob, by the new one.
    private(set) var used: [UInt16] = []
    private var numbers: [UInt16: UInt16] = [:]

    /// The blobs of a tree.
    init(of tree: FileTree) {
        tree.walkBreadthFirst { visit in
            for chunk in tree[visit.node].chunks { use(chunk.blob) }
        }
    }

    /// Gives a blob the next number, unless it has one.
    mutating func use(_ blob: UInt16) {
        guard numbers[blob] == nil else { return }
        numbers[blob] = UInt16(used.count)
        used.append(blob)
    }

    /// The address with the blob's new number.
    func address(_ address: ChunkAddress) -> ChunkAddress {
        ChunkAddress(blob: numbers[address.blob] ?? address.blob, index: address.index)
    }
}
