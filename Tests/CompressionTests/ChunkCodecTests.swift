// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

private func decompress(
    _ stored: [UInt8],
    size: Int,
    limit: Int = 1 << 24
) throws(ContentError) -> [UInt8] {
    try Compressor.zstd.decompress(stored.rawSpan, expectedSize: size, limit: limit)
}

extension ChunkCompressor {
    /// The frame, or nil if it is not smaller.
    fileprivate mutating func frame(_ content: [UInt8]) throws(ContentError) -> [UInt8]? {
        var stored: [UInt8] = [9, 9]
        let isSmaller = try compress(content.rawSpan, into: &stored)
        guard isSmaller || stored.isEmpty else { throw .corrupt("output left behind") }
        return isSmaller ? stored : nil
    }
}

@Suite("Chunk codec")
struct ChunkCodecTests {
    @Test(arguments: [64, 4096, 30_000])
    func givesBackWhatWasCompressed(count: Int) throws {
        let content = lines(count)
        var compressor = try ChunkCompressor()
        let stored = try #require(try compressor.frame(content))
        #expect(stored.count < content.count)
        #expect(try decompress(stored, size: content.count) == content)
    }

    @Test func givesTheSameBytesWhateverCameBefore() throws {
        var compressor = try ChunkCompressor()
        let first = try #require(try compressor.frame(lines(5000)))
        _ = try compressor.frame(lines(77))
        let second = try compressor.frame(lines(5000))
        #expect(first == second)
        // Magic number; content size present, single segment, no checksum.
        #expect(Array(first[..<4]) == [0x28, 0xb5, 0x2f, 0xfd])
        #expect(first[4] & 0b100 == 0)
        #expect(first[4] >> 6 != 0 || first[4] & 0b10_0000 != 0)
    }

    @Test func leavesContentThatDoesNotShrink() throws {
        var generator = SeededGenerator(seed: 3)
        var compressor = try ChunkCompressor()
        for count in [0, 1, 2, 4096, 1 << 20] {
            #expect(try compressor.frame(generator.bytes(count)) == nil)
        }
    }

    @Test func refusesAnImpossibleLevel() {
        #expect(throws: ContentError.self) {
            _ = try ChunkCompressor(level: 1_000_000)
        }
    }

    @Test func takesSeveralFrames() throws {
        let frame = try ZstdBuffer.compress(lines(10))
        #expect(try decompress(frame + frame, size: 2 * lines(10).count) == lines(10) + lines(10))
    }

    @Test func refusesAnotherSizeThanExpected() throws {
        let content = lines(10)
        let frame = try ZstdBuffer.compress(content)
        for size in [0, 1, content.count - 1, content.count + 1, 2 * content.count] {
            let error = #expect(throws: ContentError.self) { try decompress(frame, size: size) }
            #expect(error?.kind == .corrupt)
        }
        #expect(throws: ContentError.self) { try decompress(frame + [0], size: content.count) }
        #expect(throws: ContentError.self) { try decompress([], size: 0) }
        let error = #expect(throws: ContentError.self) {
            try decompress(frame, size: content.count, limit: 10)
        }
        #expect(error?.kind == .limitExceeded)
    }

    @Test func refusesTruncationAtEveryLength() throws {
        let content = lines(50)
        let frame = try ZstdBuffer.compress(content)
        for length in 0..<frame.count {
            #expect(throws: ContentError.self) {
                try decompress(Array(frame[..<length]), size: content.count)
            }
        }
    }

    @Test func endsOnEveryFlippedBit() throws {
        let content = lines(50)
        for flipped in bitFlips(of: try ZstdBuffer.compress(content)) {
            if let result = try? decompress(flipped, size: content.count) {
                #expect(result.count == content.count)
            }
        }
    }
}
