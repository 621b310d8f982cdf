// SPDX-License-Identifier: Apache-2.0

import ChunkCache
import Content
import Distribution
import OCI
import RAFS

/// Checks a layer of an ordinary image against the chunks that an index finds in it.
struct LayerCheck {
    private let source: any ImageSource
    private let layer: Descriptor
    private let chunks: ImageMetadata.BlobChunks
    private let meter: LayerProgressMeter

    init(
        _ layer: Descriptor,
        of source: any ImageSource,
        chunks: ImageMetadata.BlobChunks,
        meter: LayerProgressMeter
    ) {
        self.source = source
        self.layer = layer
        self.chunks = chunks
        self.meter = meter
    }

    /// Checks the layer's digest, and each chunk's as readers come to it: from its checkpoint.
    ///
    /// The layer passes once; spans overlap, and are in order.
    ///
    /// - Throws: an error that names the layer, and the chunk that is wrong.
    func run() throws {
        let object = "layer \(layer.digest)"
        let isWhole = chunks.table.features.contains(.whole)
        let stream: any WholeBlob =
            isWhole
            ? try DecodedLayer(layer, of: source, progress: meter.bytes)
            : VerifiedLayer(
                VerifyingStream(
                    try source.openBlob(layer),
                    digest: layer.digest,
                    size: layer.size,
                    object: object,
                    progress: meter.bytes
                )
            )
        var fetcher = try ChunkFetcher()
        var firstFault: ContentError?
        do throws(ContentError) {
            for index in try order() { try check(index, stream, &fetcher) }
        } catch {
            firstFault = error
        }
        // Read on: that the whole layer is another one says more than its first fault.
        try Self.finish(stream) { meter.report() }
        if let firstFault { throw firstFault.at(object) }
    }

    /// The chunks in the order of their stored bytes.
    private func order() throws(ContentError) -> [Int] {
        var places: [(start: UInt64, end: UInt64, index: Int)] = []
        for index in 0..<chunks.table.count {
            let chunk = try chunks.chunk(at: index)
            let start = chunk.compressedOffset.bytes
            places.append((start, start + UInt64(chunk.compressedSize), index))
        }
        return places.sorted { ($0.start, $0.end, $0.index) < ($1.start, $1.end, $1.index) }
            .map(\.index)
    }

    private func check(
        _ index: Int,
        _ stream: any WholeBlob,
        _ fetcher: inout ChunkFetcher
    ) throws(ContentError) {
        let chunk = try chunks.chunk(at: index)
        // No file has it, or nobody says what it must be.
        guard chunk.digest != .zero else { return }
        let start = chunk.compressedOffset.bytes
        let end = start + UInt64(chunk.compressedSize)
        guard end <= layer.size || chunks.table.features.contains(.whole),
            chunk.uncompressedOffset.bytes + UInt64(chunk.uncompressedSize) <= chunks.viewSize
        else {
            throw .corrupt("chunk \(index) is said to be at \(start)..<\(end), outside of it")
        }
        do throws(ContentError) {
            let first = try fetcher.pass(to: start, end, of: stream)
            try fetcher.withContent(of: chunk, chunks.coding, chunks, inRangeFrom: first) { _ in }
        } catch {
            throw error.at("chunk \(index) at \(start)+\(chunk.compressedSize)")
        }
        meter.report()
    }

    /// Reads the rest.
    private static func finish(
        _ stream: any WholeBlob,
        _ onRead: () -> Void
    ) throws(ContentError) {
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            var span = buffer.mutableSpan
            let count = try unsafe span.withUnsafeMutableBytes {
                (buffer) throws(ContentError) in try unsafe stream.read(into: buffer)
            }
            guard count > 0 else { return }
            onRead()
        }
    }
}

/// A layer as it passes, verified at its end; read by one thread.
private final class VerifiedLayer: WholeBlob {
    private var stream: VerifyingStream<AnyByteStream>

    init(_ stream: consuming VerifyingStream<AnyByteStream>) {
        self.stream = stream
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        try unsafe stream.read(into: buffer)
    }

    var servers: BlobServers { BlobServers() }
}
