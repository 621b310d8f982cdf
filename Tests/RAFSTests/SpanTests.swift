// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

/// Chunk-info tables with spans: nydus' own, and what can be wrong with them.
@Suite("Spans in chunk-info tables")
struct SpanTests {
    private static let sample =
        "nydus/zran/233c72f2b6b698c07021c4da367cfe2dff4f049efbaa885ca0ff760ea297865a.blob.meta"

    private struct Span: Equatable {
        var offset: UInt64
        var size: UInt32
        var contentSize: UInt32
    }

    @Test(.enabled(if: Fixtures.folder != nil, Comment(rawValue: Fixtures.reason)))
    func readsTheSampleOfNydus() throws {
        let file = Fixtures.bytes(Self.sample)
        let table = try ChunkInfoTable(file: file.rawSpan)
        #expect(table.count == 163)
        let digests = [UInt8](repeating: 7, count: 163 * Digest.byteCount)
        var spans: [UInt32: Span] = [:]
        var viewEnd: UInt64 = 0
        for index in 0..<table.count {
            let chunk = try table.chunk(at: index, table: file.rawSpan, digests: digests.rawSpan)
            let place = try #require(chunk.batch)
            let checkpoint = try #require(place.checkpoint)
            #expect(chunk.isCompressed)
            #expect(chunk.uncompressedOffset.bytes >= viewEnd)
            viewEnd = chunk.uncompressedOffset.bytes + UInt64(chunk.uncompressedSize)
            let span = Span(
                offset: chunk.compressedOffset.bytes,
                size: chunk.compressedSize,
                contentSize: chunk.unitSize
            )
            #expect(spans[checkpoint, default: span] == span)
            spans[checkpoint] = span
        }
        #expect(spans.keys.sorted() == Array(0..<21))
        var windows = 0
        for index in spans.keys {
            try table.withCheckpoint(index, in: file.rawSpan) { checkpoint, window in
                #expect(0...7 ~= checkpoint.bitCount)
                #expect([0, Checkpoint.windowSize].contains(window.byteCount))
                windows += window.byteCount == 0 ? 0 : 1
            }
        }
        #expect(windows == 20)
        let last = try #require(spans[20])
        #expect(last.offset + UInt64(last.size) <= 9_841_000)
    }

    /// Two chunks in the first of two spans, one in the second, which has a window.
    private static func file(change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        var table: [UInt8] = []
        for (block, size, span, offset) in [(0, 10, 0, 512), (1, 20, 0, 1024), (2, 5000, 1, 0)] {
            table.appendLittleEndian(UInt64(3) << 56 | UInt64(size - 1) << 32 | UInt64(block))
            table.appendLittleEndian(UInt64(0))
            table.appendLittleEndian(UInt64(span) << 32 | UInt64(offset))
        }
        let spans = table.count
        table += record(at: 10, 700, content: 2048, window: (0, 0))
        table += record(at: 690, 900, content: 6000, window: (0, Checkpoint.windowSize))
        table += [UInt8](repeating: 9, count: Checkpoint.windowSize)
        let size = table.count
        var header = ChunkInfoTable.header(
            count: 3,
            features: [.aligned, .chunkInfoV2, .zran, .separate],
            location: ChunkInfoLocation(
                compressor: .none,
                offset: 0,
                compressedSize: UInt64(size),
                uncompressedSize: UInt64(size)
            )
        )
        header.storeLittleEndian(UInt64(spans), at: 40)
        header.storeLittleEndian(UInt64(size - spans), at: 48)
        header.storeLittleEndian(UInt32(2), at: 56)
        change(&table)
        return ChunkInfoTable.file(table: table, header: header)
    }

    private static func record(
        at offset: UInt64,
        _ size: UInt32,
        content: UInt32,
        window: (offset: UInt64, size: Int)
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(offset)
        bytes.appendLittleEndian(UInt64(0))
        bytes.appendLittleEndian(window.offset)
        bytes.appendLittleEndian(size)
        bytes.appendLittleEndian(content)
        bytes.appendLittleEndian(UInt32(window.size))
        return bytes + [0x61, 5, 0, 0]
    }

    private func chunk(_ index: Int, of file: [UInt8]) throws(ContentError) -> Chunk {
        try ChunkInfoTable(file: file.rawSpan).chunk(
            at: index,
            table: file.rawSpan,
            digests: [UInt8](repeating: 7, count: 96).rawSpan
        )
    }

    private func window(_ index: UInt32, of file: [UInt8]) throws(ContentError) -> Int {
        var size = -1
        try ChunkInfoTable(file: file.rawSpan).withCheckpoint(index, in: file.rawSpan) {
            size = $1.byteCount
        }
        return size
    }

    @Test func chunksNameTheirSpan() throws {
        let file = Self.file()
        let chunks = try (0..<3).map { try chunk($0, of: file) }
        #expect(chunks.map(\.compressedOffset.bytes) == [10, 10, 690])
        #expect(chunks.map(\.compressedSize) == [700, 700, 900])
        #expect(chunks.map(\.unitOffset) == [512, 1024, 0])
        #expect(chunks.map { $0.batch?.checkpoint } == [0, 0, 1])
        #expect(chunks[0].sharesUnit(with: chunks[1]))
        #expect(!chunks[1].sharesUnit(with: chunks[2]))
        #expect(try window(0, of: file) == 0)
        #expect(try window(1, of: file) == Checkpoint.windowSize)
    }

    /// Another span than there are; behind its content; a shorter one; a huge one; no bytes.
    @Test(arguments: [44: UInt8(2), 41: 8, 101: 1, 103: 2, 96: 0])
    func chunksOutsideOfTheirSpanAreRefused(offset: Int, value: UInt8) {
        let file = Self.file { table in
            table[offset] = value
            if offset == 96 { table[offset + 1] = 0 }
        }
        let error = #expect(throws: ContentError.self) { try chunk(1, of: file) }
        #expect(error?.kind == .corrupt)
    }

    /// Begins one byte later; is larger than 32 KiB; more bits than a byte has; far away.
    @Test(arguments: [128: UInt8(1), 146: 1, 149: 8, 135: 0x80])
    func windowsOutsideOfTheTableAreRefused(offset: Int, value: UInt8) {
        let file = Self.file { $0[offset] = value }
        let error = #expect(throws: ContentError.self) { try window(1, of: file) }
        #expect(error?.message.contains("span 1 has a window of") == true)
        #expect(throws: ContentError.self) { try window(2, of: file) }
    }

    @Test func flippedBitsAreErrorsOrOtherChunks() {
        let file = Self.file()
        let header = file.count - ChunkInfoTable.headerSize
        for bit in Array(0..<152 * 8) + Array(header * 8..<(header + 64) * 8) {
            var flipped = file
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            for index in 0..<3 { _ = try? chunk(index, of: flipped) }
            for index: UInt32 in 0..<2 { _ = try? window(index, of: flipped) }
        }
        for count in stride(from: 0, to: file.count, by: 512) {
            #expect(throws: ContentError.self) { try chunk(1, of: Array(file[..<count])) }
        }
    }
}
