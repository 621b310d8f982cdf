// SPDX-License-Identifier: Apache-2.0

import CLZ4
import Compression
import Content
import TestSupport
import Testing

@Suite("Chunk decompressor")
struct ChunkDecompressorTests {
    private static let compressors: [Compressor] = [.none, .lz4, .gzip, .zstd]

    /// The bytes as another tool would store them.
    private func stored(_ content: [UInt8], by compressor: Compressor) throws -> [UInt8] {
        switch compressor {
        case .none: return content
        case .zstd: return try ZstdBuffer.compress(content)
        case .gzip: return try GzipEncoder.compress(content)
        case .lz4:
            let bound = LZ4_compressBound(Int32(content.count))
            var block = [CChar](repeating: 0, count: Int(bound))
            let source = content.map { CChar(bitPattern: $0) }
            let count = unsafe LZ4_compress_default(source, &block, Int32(source.count), bound)
            return block[..<Int(count)].map { UInt8(bitPattern: $0) }
        }
    }

    private func decompress(
        _ stored: [UInt8],
        by compressor: Compressor,
        size: Int
    ) throws(ContentError) -> [UInt8] {
        try compressor.decompress(stored.rawSpan, expectedSize: size, limit: 1 << 24)
    }

    @Test(arguments: compressors)
    func givesBackTheContent(_ compressor: Compressor) throws {
        for content in [lines(1), lines(5000), [UInt8](repeating: 7, count: 1 << 20)] {
            let stored = try stored(content, by: compressor)
            #expect(try decompress(stored, by: compressor, size: content.count) == content)
        }
    }

    @Test(arguments: compressors)
    func refusesAnotherSizeThanExpected(_ compressor: Compressor) throws {
        let content = lines(50)
        let stored = try stored(content, by: compressor)
        for size in [0, 1, content.count - 1, content.count + 1, 2 * content.count] {
            let error = #expect(throws: ContentError.self) {
                try decompress(stored, by: compressor, size: size)
            }
            #expect(error?.kind == .corrupt)
        }
    }

    @Test(arguments: compressors)
    func refusesTruncationAtEveryLength(_ compressor: Compressor) throws {
        let content = lines(50)
        let stored = try stored(content, by: compressor)
        for length in 0..<stored.count {
            #expect(throws: ContentError.self) {
                try decompress(Array(stored[..<length]), by: compressor, size: content.count)
            }
        }
        guard compressor != .zstd else { return }
        #expect(throws: ContentError.self) {
            try decompress(stored + [1], by: compressor, size: content.count)
        }
    }

    @Test(arguments: compressors)
    func endsOnEveryFlippedBit(_ compressor: Compressor) throws {
        let content = lines(50)
        for flipped in bitFlips(of: try stored(content, by: compressor)) {
            if let result = try? decompress(flipped, by: compressor, size: content.count) {
                #expect(result.count == content.count)
            }
        }
    }

    @Test func servesOneCompressorAfterAnother() throws {
        var decompressor = try ChunkDecompressor()
        let content = lines(100)
        for compressor in Self.compressors + Self.compressors.reversed() {
            let stored = try stored(content, by: compressor)
            var output = [UInt8](repeating: 0, count: content.count)
            try unsafe output.withUnsafeMutableBytes { buffer in
                try unsafe stored.withUnsafeBytes { input in
                    try unsafe decompressor.decompress(input, by: compressor, into: buffer)
                }
            }
            #expect(output == content)
        }
    }
}
