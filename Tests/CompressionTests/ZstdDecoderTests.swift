// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

private func decode(_ stored: [UInt8], piece: Int = 1 << 20) throws(ContentError) -> [UInt8] {
    var decoder = ZstdDecoder(TrickleStream(stored, piece: piece))
    return try decoder.readAll(limit: 1 << 24)
}

@Suite("Zstd decoder")
struct ZstdDecoderTests {
    private let text = lines(400)
    private let skippable: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]

    @Test(arguments: [1, 2, 5, 1000])
    func decodesFramesOneAfterAnother(piece: Int) throws {
        let frame = try ZstdBuffer.compress(text)
        let stored = skippable + frame + skippable + (try ZstdBuffer.compress([])) + frame
        #expect(try decode(stored, piece: piece) == text + text)
    }

    @Test func decodesMoreThanItsBuffers() throws {
        var generator = SeededGenerator(seed: 2)
        let content = generator.bytes(700_000) + lines(30_000)
        #expect(try decode(try ZstdBuffer.compress(content)) == content)
    }

    @Test func refusesGarbage() throws {
        let frame = try ZstdBuffer.compress(text)
        let error = #expect(throws: ContentError.self) { try decode(frame + [0, 0, 0, 0]) }
        #expect(
            error?.message == "garbage after the last zstd frame at compressed offset"
                + " \(frame.count), uncompressed offset \(text.count)"
        )
        #expect(throws: ContentError.self) { try decode(Array("plain".utf8)) }
    }

    @Test func refusesFormatsFromBeforeZstdWasStable() {
        // The magic numbers of v0.4 to v0.7.
        for version in [UInt8(0x24), 0x25, 0x26, 0x27] {
            let error = #expect(throws: ContentError.self) {
                try decode([version, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0])
            }
            #expect(error?.message.hasPrefix("no zstd magic number") == true)
        }
    }

    @Test func limitsTheWindow() throws {
        // A frame header with a window descriptor, and one empty last block.
        func frame(windowLog: UInt8) -> [UInt8] {
            [0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, 1, 0, 0]
        }
        #expect(try decode(frame(windowLog: 27)).isEmpty)
        #expect(throws: ContentError.self) { try decode(frame(windowLog: 28)) }
    }

    @Test func reportsTruncationAtEveryLength() throws {
        let stored = try ZstdBuffer.compress(text)
        for length in 0..<stored.count {
            let error = #expect(throws: ContentError.self) { try decode(Array(stored[..<length])) }
            #expect(error?.kind == .truncated, "at length \(length)")
        }
    }

    @Test func endsOnEveryFlippedBit() throws {
        let stored = try ZstdBuffer.compress(text) + skippable
        for flipped in bitFlips(of: stored) {
            // Either an error or some content: frames here have no checksum.
            _ = try? decode(flipped)
        }
    }

    @Test func sniffsCompression() throws {
        #expect(sniff(try GzipEncoder.compress(text)) == .gzip)
        #expect(sniff(try ZstdBuffer.compress(text)) == .zstd)
        #expect(sniff(skippable) == .zstd)
        #expect(sniff(text) == .none)
        #expect(sniff([]) == .none)
    }

    private func sniff(_ bytes: [UInt8]) -> LayerCompression {
        LayerCompression(magicOf: bytes.rawSpan)
    }
}
