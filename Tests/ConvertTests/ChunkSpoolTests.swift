// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import OCI
import RAFS
import TestSupport
import Testing

@testable import Convert

@Suite("Chunk spool")
struct ChunkSpoolTests {
    @Test func theChosenComeFirstAndTheOthersKeepTheirOrder() throws {
        let directory = TemporaryDirectory()
        var spool = try ChunkSpool(in: directory.path)
        let contents = (0..<6).map { [UInt8](repeating: UInt8($0), count: 10 + $0) }
        for (index, content) in contents.enumerated() {
            let taken = try spool.append(
                stored: content.rawSpan,
                digest: StreamingDigest.digest(of: content),
                contentSize: UInt32(content.count)
            )
            #expect(taken == UInt32(index))
        }
        var writer = BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .none)
        let indexes = try spool.write(first: [4, 1], to: &writer)
        #expect(indexes == [2, 1, 3, 4, 0, 5])
        let order = [4, 1, 0, 2, 3, 5]
        #expect(
            writer.chunks.map(\.digest) == order.map { StreamingDigest.digest(of: contents[$0]) }
        )
        _ = try writer.finishChunks()
        let blob = try writer.finish(bootstrap: []).bytes
        #expect(blob.starts(with: order.flatMap { contents[$0] }))
    }

    @Test func aDirectoryThatIsNotThereIsNamed() {
        #expect(throws: (any Error).self) { try ChunkSpool(in: "/no/such/place") }
    }

    @Test func theNeedIsAnEstimateThatNeverOverflows() throws {
        func need(_ sizes: [UInt64], _ type: MediaType, isCompressed: Bool) throws -> UInt64 {
            let layers = sizes.map { Descriptor(mediaType: type, digest: .zero, size: $0) }
            return try SpoolNeed(of: layers, isCompressed: isCompressed, in: "/tmp").bytes
        }
        #expect(try need([800, 80], .layerGzip, isCompressed: true) == 990)
        #expect(try need([800, 80], .layerGzip, isCompressed: false) == 2640)
        #expect(try need([800, 80], .layer, isCompressed: false) == 990)
        let huge: [UInt64] = [.max / 2, .max / 2, .max / 2]
        for isCompressed in [true, false] {
            #expect(try need(huge, .layerGzip, isCompressed: isCompressed) == .max)
        }
        let full = try SpoolNeed(
            of: [Descriptor(mediaType: .layer, digest: .zero, size: 1 << 62)],
            isCompressed: true,
            in: "/tmp"
        )
        #expect(throws: (any Error).self) { try full.check() }
    }
}
