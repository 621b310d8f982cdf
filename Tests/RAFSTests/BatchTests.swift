// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

/// V2 chunk infos: two chunks of 10 and 20 bytes in a batch of 30, stored in 12, then one of 5000
/// bytes on its own, stored in 700.
@Suite("Batch chunks")
struct BatchTests {
    private static let features: BlobFeatures = [.aligned, .chunkInfoV2, .batch]

    private static func info(
        _ flags: UInt64,
        at block: UInt64,
        size: UInt64,
        stored: (offset: UInt64, size: UInt64),
        place: UInt64
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(flags << 56 | (size - 1) << 32 | block)
        bytes.appendLittleEndian(stored.size << 40 | stored.offset)
        bytes.appendLittleEndian(place)
        return bytes
    }

    private static func file() -> [UInt8] {
        var table = info(5, at: 0, size: 10, stored: (0, 0), place: 0)
        table += info(5, at: 1, size: 20, stored: (0, 0), place: 10)
        table += info(0x11, at: 2, size: 5000, stored: (12, 700), place: 0xdead_beef)
        var batch: [UInt8] = []
        batch.appendLittleEndian(UInt32(12))
        batch.appendLittleEndian(UInt32(30))
        table += batch + [UInt8](repeating: 0, count: 32)
        var header = ChunkInfoTable.header(
            count: 3,
            features: features,
            location: ChunkInfoLocation(
                compressor: .none,
                offset: 712,
                compressedSize: UInt64(table.count),
                uncompressedSize: UInt64(table.count)
            )
        )
        header.storeLittleEndian(UInt64(72), at: 40)
        header.storeLittleEndian(UInt64(40), at: 48)
        header.storeLittleEndian(UInt32(1), at: 56)
        return ChunkInfoTable.file(table: table, header: header)
    }

    private static let digests = [UInt8](repeating: 7, count: 96)

    private func chunk(_ index: Int, of file: [UInt8]) throws(ContentError) -> Chunk {
        try ChunkInfoTable(file: file.rawSpan).chunk(
            at: index,
            table: file.rawSpan,
            digests: Self.digests.rawSpan
        )
    }

    @Test func membersNameTheirBatch() throws {
        let file = Self.file()
        let chunks = try (0..<3).map { try chunk($0, of: file) }
        #expect(
            chunks.map(\.batch) == [
                BatchPlace(offset: 0, size: 30), BatchPlace(offset: 10, size: 30), nil,
            ]
        )
        #expect(chunks.map(\.compressedSize) == [12, 12, 700])
        #expect(chunks.map(\.compressedOffset.bytes) == [0, 0, 12])
        #expect(chunks.map(\.uncompressedSize) == [10, 20, 5000])
        #expect(chunks.map(\.isCompressed) == [true, true, true])
        #expect(chunks[0].sharesUnit(with: chunks[1]))
        #expect(!chunks[1].sharesUnit(with: chunks[2]))
    }

    @Test func placesOutsideOfTheBatchAreRefused() throws {
        // The second member: one byte further; in a second batch; of more bytes than are left.
        for (offset, value) in [(40, UInt8(11)), (44, 1), (28, 20)] {
            var file = Self.file()
            file[offset] = value
            let error = #expect(throws: ContentError.self) { try chunk(1, of: file) }
            #expect(error?.kind == .corrupt)
        }
    }

    @Test func flagsOfOtherFormsAreRefused() throws {
        for flag: UInt8 in [2, 8, 0x20, 0x80] {
            var file = Self.file()
            file[48 + 7] = flag
            let error = #expect(throws: ContentError.self) { try chunk(2, of: file) }
            #expect(error?.kind == .unsupported)
        }
    }

    @Test func flippedBitsAreErrorsOrOtherChunks() throws {
        let file = Self.file()
        // The table, and the header's fields.
        for bit in Array(0..<112 * 8) + Array(4096 * 8..<(4096 + 64) * 8) {
            var flipped = file
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            for index in 0..<3 { _ = try? chunk(index, of: flipped) }
        }
        for count in stride(from: 0, to: file.count, by: 64) {
            #expect(throws: ContentError.self) { try chunk(1, of: Array(file[..<count])) }
        }
    }
}
