// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@Suite("Block boundaries")
struct BlockBoundaryTests {
    private struct Place {
        var boundary: BlockBoundary
        var history: [UInt8]
    }

    /// Two members of many blocks, some of them stored, some empty.
    private let content: [UInt8]
    private let stored: [UInt8]

    init() {
        var generator = SeededGenerator(seed: 11)
        let first = lines(1500) + generator.bytes(40_000) + lines(300)
        var parameters = Zlib.Parameters()
        parameters.memoryLevel = 1
        parameters.flush = 1
        parameters.pieceSize = 4000
        let second = lines(400)
        content = first + second
        stored = Zlib.deflate(first, .gzip, parameters) + Zlib.deflate(second, .gzip, parameters)
    }

    /// Reads to the end, block by block.
    private func read<Source: ByteStream & ~Copyable>(
        _ decoder: inout GzipDecoder<Source>,
        bufferSize: Int
    ) throws -> (content: [UInt8], places: [Place]) {
        var content: [UInt8] = []
        var places: [Place] = []
        var buffer = [UInt8](repeating: 0, count: bufferSize)
        while true {
            let count = try unsafe buffer.withUnsafeMutableBytes { buffer in
                try unsafe decoder.readBlock(into: buffer)
            }
            content += buffer[..<count]
            if let boundary = decoder.boundary {
                places.append(Place(boundary: boundary, history: decoder.history))
            } else if count == 0 {
                return (content, places)
            }
        }
    }

    private func places() throws -> [Place] {
        var decoder = GzipDecoder(ArrayStream(stored))
        return try read(&decoder, bufferSize: 5000).places
    }

    @Test(arguments: [100, 5000, 1 << 20])
    func areTheSameHoweverItIsRead(bufferSize: Int) throws {
        var decoder = GzipDecoder(ArrayStream(stored))
        let (read, found) = try read(&decoder, bufferSize: bufferSize)
        #expect(read == content)
        #expect(found.map(\.boundary) == (try places().map(\.boundary)))
        let offsets = found.map(\.boundary.uncompressedOffset)
        #expect(offsets == offsets.sorted())
    }

    @Test func tellTheContentBeforeThem() throws {
        let places = try places()
        #expect(places.count > 30)
        #expect(places.contains { $0.boundary.skippedBits != 0 })
        #expect(places.count { $0.boundary.member == .init(checksum: 0, size: 0) } >= 2)
        for place in places {
            let before = content[..<Int(place.boundary.uncompressedOffset.bytes)]
            let size = Int(try #require(place.boundary.member).size)
            // Of this member only, and at most 32 KiB.
            #expect(place.history == Array(before.suffix(min(32 << 10, size))))
        }
    }

    @Test func areWhereDecodingBeginsAgain() throws {
        for place in try places() {
            let offset = Int(place.boundary.compressedByte.bytes)
            let source = TrickleStream(Array(stored[offset...]), piece: 9999)
            var decoder = GzipDecoder(source, from: place.boundary, history: place.history)
            let rest = try decoder.readAll(limit: 1 << 24)
            #expect(rest == Array(content[Int(place.boundary.uncompressedOffset.bytes)...]))
            #expect(decoder.compressedOffset.bytes == UInt64(stored.count))
            #expect(decoder.uncompressedOffset.bytes == UInt64(content.count))
        }
    }

    @Test func verifyTheMemberIfItsStateIsKnown() throws {
        let place = try places()[20]
        let source = Array(stored[Int(place.boundary.compressedByte.bytes)...])
        var boundary = place.boundary
        boundary.member?.checksum ^= 1
        var wrong = GzipDecoder(ArrayStream(source), from: boundary, history: place.history)
        let error = #expect(throws: ContentError.self) { try wrong.readAll(limit: 1 << 24) }
        #expect(error?.message.hasPrefix("gzip checksum is ") == true)
        boundary.member = nil
        var unknown = GzipDecoder(ArrayStream(source), from: boundary, history: place.history)
        let rest = try unknown.readAll(limit: 1 << 24)
        #expect(rest == Array(content[Int(boundary.uncompressedOffset.bytes)...]))
    }

    @Test func areOfNoUseWithoutTheHistory() throws {
        let place = try places()[20]
        let source = Array(stored[Int(place.boundary.compressedByte.bytes)...])
        var decoder = GzipDecoder(ArrayStream(source), from: place.boundary, history: [])
        #expect(throws: ContentError.self) { try decoder.readAll(limit: 1 << 24) }
    }
}
