// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport

/// Layers as stored: gzip, zstd or neither, as their first bytes say.
enum LayerTarget {
    /// Bytes of content after which an input is given up: bombs are for other tests.
    private static let limit = 1 << 20

    static func run(_ bytes: [UInt8]) {
        // The first two bytes choose how the rest is read.
        guard bytes.count >= 2 else { return }
        let stored = Array(bytes.dropFirst(2))
        let piece = 1 + Int(bytes[0])
        let bufferSize = 1 + Int(bytes[1]) * 257
        switch LayerCompression(magicOf: stored.rawSpan) {
        case .none:
            // Whatever the magic number: both say no, and nothing else.
            var gzip = GzipDecoder(ArrayStream(stored))
            var zstd = ZstdDecoder(ArrayStream(stored))
            require(outcome(&gzip, bufferSize).hasSuffix("offset 0"), "gzip takes it")
            require(outcome(&zstd, bufferSize).hasSuffix("offset 0"), "zstd takes it")
        case .gzip:
            var whole = GzipDecoder(ArrayStream(stored))
            var pieces = GzipDecoder(TrickleStream(stored, piece: piece))
            compare(outcome(&whole, 65_536), outcome(&pieces, bufferSize))
        case .zstd:
            var whole = ZstdDecoder(ArrayStream(stored), windowLogMaximum: 20)
            var pieces = ZstdDecoder(TrickleStream(stored, piece: piece), windowLogMaximum: 20)
            compare(outcome(&whole, 65_536), outcome(&pieces, bufferSize))
        }
    }

    /// Whether it ends well must not depend on how it is read; where an error is noticed may.
    private static func compare(_ whole: String, _ pieces: String) {
        if whole.hasPrefix("content ") || pieces.hasPrefix("content ") {
            require(whole == pieces, "at once: \(whole), in pieces: \(pieces)")
        }
    }

    private static func outcome<Stream: ByteStream & ~Copyable>(
        _ stream: inout Stream,
        _ bufferSize: Int
    ) -> String {
        var digest = StreamingDigest()
        var size = 0
        do throws(ContentError) {
            try unsafe drain(limit: limit, bufferSize: bufferSize) {
                (buffer) throws(ContentError) in
                let count = try unsafe stream.read(into: buffer)
                unsafe digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                size += count
                return count
            }
        } catch {
            return error.message
        }
        return size < limit ? "content \(size) \(digest.finish())" : "given up"
    }
}
