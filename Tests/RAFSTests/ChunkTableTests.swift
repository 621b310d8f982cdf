// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@testable import RAFS

@Suite("Chunk tables")
struct ChunkTableTests {
    private static func chunk(
        _ offset: UInt64,
        _ size: UInt32,
        _ viewOffset: UInt64,
        _ viewSize: UInt32
    ) -> Chunk {
        Chunk(
            digest: Digest(bytes: repeatElement(7, count: 32)) ?? .zero,
            compressedOffset: CompressedOffset(offset),
            compressedSize: size,
            uncompressedOffset: UncompressedOffset(viewOffset),
            uncompressedSize: viewSize
        )
    }

    private static func file(_ chunks: [Chunk], features: BlobFeatures = .written) -> [UInt8] {
        let table = ChunkInfoTable.encode(chunks)
        let location = ChunkInfoLocation(
            compressor: .none,
            offset: 77,
            compressedSize: UInt64(table.count),
            uncompressedSize: UInt64(table.count)
        )
        let header = ChunkInfoTable.header(
            count: chunks.count,
            features: features,
            location: location
        )
        return ChunkInfoTable.file(table: table, header: header)
    }

    private static func chunk(_ index: Int, of file: [UInt8]) throws(ContentError) -> Chunk {
        let table = try ChunkInfoTable(file: file.rawSpan)
        let digests = [UInt8](repeating: 7, count: table.count * 32)
        return try table.chunk(at: index, table: file.rawSpan, digests: digests.rawSpan)
    }

    @Test func smallestAndLargestNumbersComeBack() throws {
        let sizes: [UInt32] = [1, 2, 4095, 4096, 1 << 20, (1 << 20) + 1, (1 << 24) - 1, 1 << 24]
        var chunks: [Chunk] = []
        for offset: UInt64 in [0, 1, 0xfff, (1 << 40) - 1] {
            for view: UInt64 in [0, 4096, 1 << 43, (1 << 44) - 4096] {
                for size in sizes {
                    chunks.append(Self.chunk(offset, size, view, sizes.randomElement() ?? 1))
                }
            }
        }
        let file = Self.file(chunks)
        #expect(file.count == 4096 + 4096)
        for (index, chunk) in chunks.enumerated() {
            #expect(try Self.chunk(index, of: file) == chunk)
        }
        #expect(throws: ContentError.self) { try Self.chunk(chunks.count, of: file) }
        #expect(throws: ContentError.self) { try Self.chunk(-1, of: file) }
    }

    @Test func bitsAreWhereNydusHasThem() {
        let bytes = ChunkInfoTable.encode([
            Self.chunk(0x12_3456_789a, 0xabcdef + 1, 0x5000, 0x654321 + 1)
        ])
        // (size - 1) bits 0–19 on top, the offset in place, bits 20–23 in a gap below or above.
        #expect(bytes[0..<8] == [0x00, 0x56, 0x00, 0x00, 0x00, 0x10, 0x32, 0x54])
        #expect(bytes[8..<16] == [0x9a, 0x78, 0x56, 0x34, 0x12, 0xfa, 0xde, 0xbc])
    }

    @Test func secondVersionIsRead() throws {
        // A table of 24-byte infos: view offset / 4096 and size - 1, stored offset and size.
        func file(_ flags: UInt64, stored: UInt64, content: UInt64) -> [UInt8] {
            var table: [UInt8] = []
            table.appendLittleEndian(UInt64(0xffff_ffff) | (content - 1) << 32 | flags << 56)
            table.appendLittleEndian(UInt64(0xff_ffff_ffff) | stored << 40)
            table.appendLittleEndian(UInt64(0xdead_beef))
            let location = ChunkInfoLocation(
                compressor: .zstd,
                offset: 1,
                compressedSize: 2,
                uncompressedSize: 24
            )
            return ChunkInfoTable.file(
                table: table,
                header: ChunkInfoTable.header(
                    count: 1,
                    features: .written.union(.chunkInfoV2),
                    location: location
                )
            )
        }
        let expected = Self.chunk((1 << 40) - 1, 100, (1 << 44) - 4096, 1 << 24)
        #expect(try Self.chunk(0, of: file(1, stored: 100, content: 1 << 24)) == expected)
        #expect(try Self.chunk(0, of: file(0x11, stored: 100, content: 1 << 24)) == expected)
        #expect(try !Self.chunk(0, of: file(0x10, stored: 5, content: 5)).isCompressed)
        for flags: UInt64 in [2, 8, 0x20, 0x80] {
            let error = #expect(throws: ContentError.self) {
                try Self.chunk(0, of: file(flags, stored: 100, content: 200))
            }
            #expect(error?.kind == .unsupported)
        }
        // Whether a chunk is compressed is told by its sizes; a flag that says otherwise is refused,
        // and so is a member of a batch in a table without batches.
        for (flags, stored, content) in [(1, 5, 5), (0, 4, 5), (1, 0, 5), (4, 0, 5)]
            as [(UInt64, UInt64, UInt64)]
        {
            #expect(throws: ContentError.self) {
                try Self.chunk(0, of: file(flags, stored: stored, content: content))
            }
        }
    }

    @Test func brokenHeadersAreNamed() throws {
        let file = Self.file([Self.chunk(0, 1, 0, 1)])
        func message(_ offset: Int, _ value: [UInt8]) -> String? {
            var broken = file
            broken.replaceSubrange(4096 + offset..<4096 + offset + value.count, with: value)
            return #expect(throws: ContentError.self) { try ChunkInfoTable(file: broken.rawSpan) }?
                .message
        }
        #expect(message(0, [0]) == "chunk-info table: its header has no magic")
        #expect(message(4095, [0]) == "chunk-info table: its header has no magic")
        #expect(message(8, [4]) == "chunk-info table: compressor 4 is not known")
        #expect(
            message(13, [1, 0])
                == "chunk-info table: 257 chunks and 0 batches or spans in 8192 bytes"
        )
        #expect(message(15, [2]) == "chunk-info table: 33554433 chunks, at most 2^24 can be named")
        for count in stride(from: 0, to: file.count, by: 500) {
            let cut = Array(file[..<count])
            #expect(throws: ContentError.self) { try ChunkInfoTable(file: cut.rawSpan) }
        }
    }

    @Test func recordsComeBack() throws {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let record = ChunkRecord(
                address: ChunkAddress(
                    blob: UInt16.random(in: 0..<254, using: &generator),
                    index: UInt32.random(in: 0..<1 << 24, using: &generator)
                ),
                chunk: Self.chunk(
                    UInt64.random(in: 0..<1 << 40, using: &generator),
                    UInt32.random(in: 1...1 << 24, using: &generator),
                    UInt64.random(in: 0..<1 << 32, using: &generator) * 4096,
                    UInt32.random(in: 1...1 << 24, using: &generator)
                ),
                fileOffset: UInt64.random(in: 0...UInt64.max, using: &generator)
            )
            var bytes: [UInt8] = []
            record.encode(into: &bytes)
            #expect(bytes.count == 80)
            #expect(try ChunkRecord(bytes.rawSpan, at: 0, blobCount: 254) == record)
            for count in 0..<76 {  // the checksum behind them is not read
                let cut = Array(bytes[..<count])
                #expect(throws: ContentError.self) {
                    try ChunkRecord(cut.rawSpan, at: 0, blobCount: 254)
                }
            }
        }
    }

    @Test(
        arguments: [
            (32, 2, "chunk table: chunk 5 of blob 2 of 2"),
            (35, 1, "chunk table: chunk 5 of blob 16777217 of 2"),
            (75, 1, "chunk table: chunk 16777221 of blob 1 of 2"),
            (36, 3, "chunk table: chunk 5 of blob 1 has flags 0x3"),
            (36, 4, "chunk table: chunk 5 of blob 1 has flags 0x4"),
            (43, 2, "chunk table: chunk 5 of blob 1 is out of range"),
            (47, 2, "chunk table: chunk 5 of blob 1 is out of range"),
            (44, 0, "chunk table: chunk 5 of blob 1 is out of range"),
            (53, 1, "chunk table: chunk 5 of blob 1 is out of range"),
            (56, 1, "chunk table: chunk 5 of blob 1 is out of range"),
            (61, 16, "chunk table: chunk 5 of blob 1 is out of range"),
        ] as [(Int, UInt8, String)]
    )
    func brokenRecordsAreNamed(_ offset: Int, _ value: UInt8, _ message: String) {
        let chunk = Self.chunk(3, 9, 4096, 9)
        let address = ChunkAddress(blob: 1, index: 5)
        var bytes: [UInt8] = []
        ChunkRecord(address: address, chunk: chunk, fileOffset: 0).encode(into: &bytes)
        bytes[offset] = value
        let error = #expect(throws: ContentError.self) {
            try ChunkRecord(bytes.rawSpan, at: 0, blobCount: 2)
        }
        #expect(error?.message == message)
    }
}
