// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport

/// Our inflate decoder beside zlib's: the same content, verdict and end, however input and output
/// are split, and from every block on.
enum InflateTarget {
    /// Bytes of content after which a stream is given up.
    private static let limit = 1 << 18
    /// From how many blocks of one stream decoding begins again.
    private static let restarts = 3

    /// The first byte says whether it is a gzip file, the next two how it is split.
    static func run(_ bytes: [UInt8]) {
        guard bytes.count >= 3 else { return }
        let seed = UInt64(bytes[1]) << 8 | UInt64(bytes[2])
        let stored = Array(bytes.dropFirst(3))
        if bytes[0] & 1 == 0 {
            compareDeflate(stored, seed: seed)
        } else {
            compareGzip(stored, seed: seed)
        }
    }

    /// Streams that zlib makes of content, and what a few changes make of those.
    ///
    /// Begins with how to deflate, how many changes to make, and how to split; the rest is a
    /// program that makes the content.
    static func runDeflated(_ bytes: [UInt8]) {
        guard bytes.count >= 8 else { return }
        var parameters = Zlib.Parameters()
        parameters.level = Int32(bytes[0] % 10)
        parameters.strategy = Int32(bytes[1] % 5)
        parameters.memoryLevel = 1 + Int32(bytes[2] % 9)
        parameters.flush = [0, 1, 2, 3, 5][Int(bytes[3] % 5)]
        parameters.pieceSize = bytes[4] == 0 ? .max : Int(bytes[4]) * 97
        let seed = UInt64(bytes[5]) << 8 | UInt64(bytes[6])
        let content = ContentProgram.content(of: bytes.dropFirst(8))
        let framing: Zlib.Framing = bytes[7] & 1 == 0 ? .none : .gzip
        var stored = Zlib.deflate(content, framing, parameters)
        if framing == .gzip { return compareGzip(stored, seed: seed) }
        let decoded = InflateRun(stored, seed: seed, limit: limit)
        require(decoded.content == content, "other content than was deflated")
        compareDeflate(stored, seed: seed)
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<bytes[7] >> 1 & 3 {
            let bit = Int.random(in: 0..<8 * stored.count, using: &generator)
            stored[bit / 8] ^= 1 << UInt8(bit % 8)
        }
        compareDeflate(stored, seed: seed ^ 0xFFFF)
    }

    private static func compareDeflate(_ stored: [UInt8], seed: UInt64) {
        let (content, verdict) = Zlib.inflate(stored, limit: limit)
        let whole = InflateRun(stored, seed: nil, limit: limit)
        require(whole.agrees(with: content, verdict), "zlib \(verdict), ours \(whole.verdict)")
        let split = InflateRun(stored, seed: seed, limit: limit)
        require(split.agrees(with: content, verdict), "zlib \(verdict), split \(split.verdict)")
        guard verdict != .limit else { return }
        require(split.content == whole.content, "split, other content")
        var generator = SeededGenerator(seed: seed)
        for boundary in split.boundaries.shuffled(using: &generator).prefix(restarts) {
            let history = content[..<boundary.contentCount].suffix(32 << 10)
            let rest = InflateRun(
                Array(stored[(boundary.bit / 8)...]),
                skippedBits: boundary.bit % 8,
                history: Array(history),
                seed: generator.next(),
                limit: limit
            )
            require(
                rest.content == Array(content[boundary.contentCount...]),
                "other content from bit \(boundary.bit) on"
            )
            let verdict = rest.verdict.moved(by: boundary.bit / 8)
            require(verdict == split.verdict, "\(verdict) from bit \(boundary.bit) on")
        }
    }

    /// Any number of members: zlib takes one, so the rest of RFC 1952 is done here once more.
    private static func compareGzip(_ stored: [UInt8], seed: UInt64) {
        let (content, isEnd) = gzipContent(of: stored)
        guard content.count < limit else { return }
        var generator = SeededGenerator(seed: seed)
        let piece = InflateRun.size(using: &generator)
        var decoder = GzipDecoder(TrickleStream(stored, piece: piece))
        var ours: [UInt8] = []
        var message: String?
        do throws(ContentError) {
            try unsafe drain(bufferSize: InflateRun.size(using: &generator)) {
                (buffer) throws(ContentError) in
                let count = try unsafe decoder.read(into: buffer)
                unsafe ours.append(contentsOf: buffer[..<count])
                return count
            }
        } catch {
            message = error.message
        }
        require((message == nil) == isEnd, "zlib \(isEnd), ours \(message ?? "ends")")
        require(ours == content, "other content, \(ours.count) bytes of \(content.count)")
    }

    private static func gzipContent(of stored: [UInt8]) -> (content: [UInt8], isEnd: Bool) {
        var content: [UInt8] = []
        var rest = stored[...]
        repeat {
            let member = Zlib.inflate(Array(rest), .gzip, limit: limit)
            content += member.content
            guard case .end(let consumed) = member.verdict, content.count < limit else {
                return (content, false)
            }
            rest = rest.dropFirst(consumed).drop { $0 == 0 }
        } while !rest.isEmpty
        return (content, true)
    }
}
