// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import TestSupport
import Testing

/// Takes contents whose sizes alone matter.
private struct SizeSink: LayerContentSink {
    var sizes: [UInt64] = []

    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress] {
        sizes.append(size)
        return []
    }
}

@Suite("Limits on layers")
struct LayerLimitsTests {
    private func read(_ archive: [UInt8], _ limits: LayerLimits) throws(ContentError) -> [UInt64] {
        var sink = SizeSink()
        _ = try LayerReader(limits: limits, keepsXattr: { _ in true })
            .read(ArrayStream(archive), into: &sink)
        return sink.sizes
    }

    private func limits(
        entries: Int = 100,
        depth: Int = 100,
        bytes: UInt64 = 1 << 20
    ) -> LayerLimits {
        LayerLimits(entries: entries, depth: depth, metadataBytes: 1 << 20, decodedBytes: bytes)
    }

    private func sparse(_ size: Int) -> [UInt8] {
        TarBlocks.pax([("GNU.sparse.size", "\(size)"), ("GNU.sparse.map", "\(size),0")])
            + TarBlocks.file("file", [])
    }

    @Test func countsHolesAsContentBeforeReadingThem() throws {
        let archive = sparse(600_000) + sparse(448_576)
        #expect(try read(archive, limits()) == [600_000, 448_576])
        let error = #expect(throws: ContentError.self) { try read(archive + sparse(1), limits()) }
        #expect(error?.kind == .limitExceeded)
        #expect(
            error?.message
                == "file: more than 1048576 bytes when decompressed; --max-layer-size raises the limit"
        )
        #expect(throws: ContentError.self) { try read(sparse(.max) + sparse(.max), limits()) }
    }

    @Test func countsWhatFollowsTheArchive() throws {
        let archive = TarBlocks.file("a", [1]) + TarBlocks.end
        #expect(try read(archive, limits(bytes: 2048)) == [1])
        let error = #expect(throws: ContentError.self) {
            try read(archive + [0], limits(bytes: 2048))
        }
        #expect(error?.kind == .limitExceeded)
    }

    @Test func countsEntriesAndDirectories() throws {
        let archive = TarBlocks.file("a/b/c", [])
        #expect(throws: Never.self) { try read(archive, limits(entries: 4, depth: 2)) }
        for narrow in [limits(entries: 3), limits(depth: 1)] {
            let error = #expect(throws: ContentError.self) { try read(archive, narrow) }
            #expect(error?.kind == .limitExceeded)
        }
    }
}
