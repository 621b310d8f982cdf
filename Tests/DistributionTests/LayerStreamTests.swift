// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import OCI
import Tar
import TestSupport
import Testing

private let tar = TarBlocks.file("file", lines(300)) + TarBlocks.end

private func descriptor(_ stored: [UInt8], _ type: MediaType) -> Descriptor {
    Descriptor(
        mediaType: type,
        digest: StreamingDigest.digest(of: stored),
        size: UInt64(stored.count)
    )
}

private func readLayer(
    _ stored: [UInt8],
    _ layer: Descriptor,
    diffID: Digest = StreamingDigest.digest(of: tar),
    progress: ByteCounter? = nil
) throws(ContentError) -> [UInt8] {
    var stream = try LayerStream(
        AnyByteStream(TrickleStream(stored, piece: 100)),
        layer: layer,
        diffID: diffID,
        progress: progress
    )
    return try stream.readAll(limit: 1 << 24)
}

private func store(_ compression: LayerCompression) throws(ContentError) -> [UInt8] {
    switch compression {
    case .none: tar
    case .gzip: try GzipEncoder.compress(tar)
    case .zstd: try ZstdBuffer.compress(tar)
    }
}

@Suite("Layer stream")
struct LayerStreamTests {
    @Test(arguments: [LayerCompression.none, .gzip, .zstd])
    func letsContentDecideWhatMediaTypesSay(compression: LayerCompression) throws {
        let stored = try store(compression)
        for type in [MediaType.layer, .layerGzip, .layerZstd, .dockerLayerGzip] {
            let counter = ByteCounter()
            #expect(try readLayer(stored, descriptor(stored, type), progress: counter) == tar)
            #expect(counter.value == UInt64(stored.count))
        }
    }

    @Test(arguments: [LayerCompression.none, .gzip, .zstd])
    func findsEveryDamagedByte(compression: LayerCompression) throws {
        let stored = try store(compression)
        let layer = descriptor(stored, .layerGzip)
        for flipped in bitFlips(of: stored, every: compression == .none ? 1001 : 13) {
            let error = #expect(throws: ContentError.self) { try readLayer(flipped, layer) }
            #expect(error?.message.hasPrefix("layer \(layer.digest): ") == true)
        }
        for length in stride(from: 0, to: stored.count, by: compression == .none ? 997 : 7) {
            #expect(throws: ContentError.self) { try readLayer(Array(stored[..<length]), layer) }
        }
        let longer = #expect(throws: ContentError.self) { try readLayer(stored + [0], layer) }
        #expect(
            longer?.message
                == "layer \(layer.digest): more than the expected \(stored.count) bytes"
        )
    }

    @Test func namesBothDigests() throws {
        let layer = descriptor(tar, .layer)
        var other = tar
        other[600] ^= 1
        let blob = #expect(throws: ContentError.self) { try readLayer(other, layer) }
        let found = StreamingDigest.digest(of: other)
        #expect(
            blob?.message == "layer \(layer.digest): digest mismatch:"
                + " expected \(layer.digest), found \(found)"
        )
        let stored = try store(.gzip)
        let gzip = descriptor(stored, .layerGzip)
        let diffID = #expect(throws: ContentError.self) {
            try readLayer(stored, gzip, diffID: .zero)
        }
        #expect(
            diffID?.message == "layer \(gzip.digest): uncompressed: digest mismatch:"
                + " expected \(Digest.zero), found \(StreamingDigest.digest(of: tar))"
        )
    }

    @Test func isVerifiedByTheEndOfATarReader() throws {
        let stored = try store(.zstd)
        var layer = descriptor(stored, .layerZstd)
        #expect(throws: Never.self) { try readTar(stored, layer) }
        layer.digest = .zero
        #expect(throws: ContentError.self) { try readTar(stored, layer) }
    }

    private func readTar(_ stored: [UInt8], _ layer: Descriptor) throws(ContentError) {
        var reader = TarReader(
            try LayerStream(
                AnyByteStream(ArrayStream(stored)),
                layer: layer,
                diffID: StreamingDigest.digest(of: tar)
            )
        )
        while try reader.next() != nil {}
        try reader.finish()
    }

    @Test func refusesDataBlobs() {
        let error = #expect(throws: ContentError.self) {
            try readLayer(tar, descriptor(tar, .nydusBlob))
        }
        #expect(error?.kind == .unsupported)
    }
}
