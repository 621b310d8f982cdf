// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import Layers
import Linux
import OCI

/// The tree of an image that is not converted, read anew from its layers.
struct SourceTree {
    /// The merged tree; chunk addresses name digests by layer and place in `digests`.
    private(set) var tree: FileTree
    /// The digests of every piece of content, by function and by layer.
    private let digests: [[Digester: [Digest]]]

    /// Reads all layers of an image, verified, several at a time.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - chunkSize: contents are digested in pieces of this size, in bytes.
    ///   - digesters: by which functions.
    ///   - limits: what the image may cost.
    ///   - threads: how many layers at once.
    ///   - progress: told how far the work is.
    /// - Throws: an error that names the layer.
    init(
        _ source: any ImageSource,
        chunkSize: UInt32,
        digesters: Set<Digester>,
        limits: LayerLimits,
        threads: Int,
        progress: @escaping @Sendable (LayerProgress) -> Void
    ) throws {
        let image = try source.resolve()
        let layers = image.manifest.layers
        let diffIDs = image.config.diffIDs
        let meter = LayerProgressMeter(layers, show: progress)
        let trees = try inParallel(layers.count, threads: threads, name: "layer") { index in
            let stream = try LayerStream(
                source.openBlob(layers[index]),
                layer: layers[index],
                diffID: diffIDs[index],
                progress: meter.bytes
            )
            var sink = try DigestingSink(
                chunkSize: Int(chunkSize),
                digesters: digesters,
                pieceLimit: limits.chunks,
                meter: meter
            )
            // Everything the source has counts, also what a conversion cannot keep.
            let tree = try LayerReader(limits: limits, keepsXattr: { _ in true })
                .read(stream, into: &sink)
            meter.reportLayer()
            return (tree.tree, sink.digests)
        }
        guard layers.count <= Int(UInt16.max) else {
            throw ContentError(.limitExceeded, "\(layers.count) layers, at most \(UInt16.max)")
        }
        var applier = LayerApplier(limits: limits)
        for (index, layer) in trees.enumerated() {
            try applier.apply(layer.0) { address in
                ChunkAddress(blob: UInt16(truncatingIfNeeded: index), index: address.index)
            }
        }
        tree = applier.tree
        digests = trees.map(\.1)
    }

    /// The digest of a piece of content by one of the functions that were asked for; nil for others.
    func digest(of address: ChunkAddress, by digester: Digester) -> Digest? {
        digests[Int(address.blob)][digester]?[Int(address.index)]
    }
}

/// Digests file contents piece by piece and keeps nothing else of them.
private struct DigestingSink: LayerContentSink {
    private(set) var digests: [Digester: [Digest]]
    /// How many pieces there were.
    private var count = 0
    /// The most pieces, below 2^32.
    private let pieceLimit: Int
    private let buffer: PieceBuffer
    private let meter: LayerProgressMeter

    init(
        chunkSize: Int,
        digesters: Set<Digester>,
        pieceLimit: Int,
        meter: LayerProgressMeter
    ) throws(SystemError) {
        digests = Dictionary(uniqueKeysWithValues: digesters.map { ($0, []) })
        self.pieceLimit = pieceLimit
        buffer = try PieceBuffer(byteCount: chunkSize)
        self.meter = meter
    }

    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress] {
        var addresses: [ChunkAddress] = []
        var rest = size
        while rest > 0 {
            let piece = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer.memory.bytes[..<Int(min(rest, UInt64(buffer.memory.bytes.count)))]
            )
            var filled = 0
            while filled < piece.count {
                let count = try unsafe read(
                    UnsafeMutableRawBufferPointer(rebasing: piece[filled...])
                )
                guard count > 0 else { throw .truncated("a file's content ends early") }
                filled += count
            }
            rest -= UInt64(piece.count)
            guard count < pieceLimit else {
                throw LayerLimits.chunksError(limit: pieceLimit)
            }
            addresses.append(ChunkAddress(blob: 0, index: UInt32(count)))
            let bytes = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(piece))
            for digester in digests.keys {
                digests[digester]?.append(digester.digest(of: bytes))
            }
            count += 1
            meter.report()
        }
        return addresses
    }
}

/// Memory that a copyable value can hold.
private final class PieceBuffer {
    let memory: AnonymousMemory

    init(byteCount: Int) throws(SystemError) {
        memory = try AnonymousMemory(byteCount: byteCount)
    }
}
