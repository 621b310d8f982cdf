// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

private func decode(_ stored: [UInt8], piece: Int = 1 << 20) throws(ContentError) -> [UInt8] {
    var decoder = GzipDecoder(TrickleStream(stored, piece: piece))
    return try decoder.readAll(limit: 1 << 24)
}

@Suite("Gzip decoder")
struct GzipDecoderTests {
    private let text = lines(40)

    @Test(arguments: [1, 2, 3, 7, 1000])
    func decodesWhateverTheReadsGive(piece: Int) throws {
        #expect(try decode(try GzipEncoder.compress(text), piece: piece) == text)
    }

    @Test func decodesMoreThanItsBuffers() throws {
        var generator = SeededGenerator(seed: 1)
        let content = generator.bytes(700_000) + lines(30_000)
        #expect(try decode(try GzipEncoder.compress(content)) == content)
    }

    @Test(arguments: [1, 1000])
    func joinsMembers(piece: Int) throws {
        let stored =
            try GzipEncoder.compress(text) + GzipEncoder.compress([])
            + GzipEncoder.compress([0x21])
        #expect(try decode(stored, piece: piece) == text + [0x21])
    }

    @Test func decodesHeaderFields() throws {
        let plain = try GzipEncoder.compress(text)
        // FEXTRA, FNAME, FCOMMENT; FHCRC with the CRC of the header before it.
        var header: [UInt8] = [0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 3]
        header += [4, 0, 0x41, 0x50, 0, 0]
        header += Array("name\u{0}comment\u{0}".utf8)
        let checksum = crc32(header)
        header += [UInt8(truncatingIfNeeded: checksum), UInt8(truncatingIfNeeded: checksum >> 8)]
        #expect(try decode(header + plain[10...]) == text)
        header[10] ^= 1
        #expect(throws: ContentError.self) { try decode(header + plain[10...]) }
    }

    @Test func ignoresZerosAfterTheLastMember() throws {
        let stored = try GzipEncoder.compress(text)
        for count in [1, 2, 511, 300_000] {
            #expect(try decode(stored + [UInt8](repeating: 0, count: count)) == text)
        }
    }

    @Test func refusesGarbageAfterTheLastMember() throws {
        let stored = try GzipEncoder.compress(text)
        let error = #expect(throws: ContentError.self) { try decode(stored + [0, 0, 0x50, 0x4b]) }
        #expect(
            error?.message == "garbage after the last gzip member at compressed offset"
                + " \(stored.count + 2), uncompressed offset \(text.count)"
        )
        #expect(error?.kind == .corrupt)
    }

    @Test func refusesWhatIsNoGzip() {
        #expect(throws: ContentError.self) { try decode(Array("plain text".utf8)) }
        let error = #expect(throws: ContentError.self) { try decode([]) }
        #expect(error?.kind == .truncated)
    }

    @Test func reportsTruncationAtEveryLength() throws {
        let stored = try GzipEncoder.compress(text)
        for length in 0..<stored.count {
            let error = #expect(throws: ContentError.self) { try decode(Array(stored[..<length])) }
            #expect(error?.kind == .truncated, "at length \(length)")
        }
    }

    @Test func noFlippedBitGivesOtherContent() throws {
        let stored = try GzipEncoder.compress(lines(8))
        for flipped in bitFlips(of: stored) {
            if let content = try? decode(flipped) { #expect(content == lines(8)) }
        }
    }

    @Test func knowsItsOffsets() throws {
        let stored = try GzipEncoder.compress(text)
        var decoder = GzipDecoder(ArrayStream(stored))
        _ = try decoder.readAll(limit: 1 << 20)
        #expect(decoder.compressedOffset.bytes == UInt64(stored.count))
        #expect(decoder.uncompressedOffset.bytes == UInt64(text.count))
    }

    @Test func encodesTheSameBytesEveryTime() throws {
        let stored = try GzipEncoder.compress(text)
        #expect(try GzipEncoder.compress(text) == stored)
        // No flags, time 0, Unix.
        #expect(Array(stored[..<10]) == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])
    }

    private func crc32(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { sum, byte in
            (0..<8).reduce(sum ^ UInt32(byte)) { value, _ in
                value >> 1 ^ (value & 1 == 1 ? 0xEDB8_8320 : 0)
            }
        }
    }
}
