// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@Suite("Gzip members")
struct GzipMemberTests {
    private let text = lines(40)

    private func decode(_ stored: [UInt8], piece: Int = 1 << 20) throws(ContentError) -> [UInt8] {
        var decoder = GzipDecoder(TrickleStream(stored, piece: piece))
        return try decoder.readAll(limit: 1 << 24)
    }

    private func message(_ stored: [UInt8]) -> String? {
        let error = #expect(throws: ContentError.self) { try decode(stored) }
        #expect(error?.kind == .corrupt)
        let pieces = #expect(throws: ContentError.self) { try decode(stored, piece: 1) }
        #expect(pieces?.message == error?.message)
        return error?.message
    }

    /// A header with those fields, each of them with something in it.
    private func header(flags: UInt8, extra: Int = 300, name: Int = 400) -> [UInt8] {
        var header: [UInt8] = [0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3]
        if flags & 1 << 2 != 0 {
            header += [UInt8(extra & 0xFF), UInt8(extra >> 8)]
            header += [UInt8](repeating: 0, count: extra)
        }
        if flags & 1 << 3 != 0 { header += [UInt8](repeating: 0x61, count: name) + [0] }
        if flags & 1 << 4 != 0 { header += Array("comment".utf8) + [0] }
        guard flags & 1 << 1 != 0 else { return header }
        let checksum = Zlib.checksum(header)
        return header + [UInt8(checksum & 0xFF), UInt8(checksum >> 8 & 0xFF)]
    }

    @Test func takesEveryCombinationOfFields() throws {
        let deflated = Zlib.deflate(text, .gzip).dropFirst(10)
        for flags: UInt8 in 0..<32 {
            for piece in [1, 3, 1 << 20] {
                let stored = header(flags: flags) + deflated
                #expect(try decode(stored, piece: piece) == text, "flags \(flags)")
            }
            #expect(try decode(header(flags: flags, extra: 0, name: 0) + deflated) == text)
        }
    }

    @Test func reportsTruncationInEveryField() throws {
        let stored = header(flags: 0b1_1110, extra: 7, name: 5)
        for length in 0...stored.count {
            let error = #expect(throws: ContentError.self) { try decode(Array(stored[..<length])) }
            #expect(error?.kind == .truncated, "at length \(length)")
        }
    }

    @Test func refusesHeadersOfTheFuture() {
        let deflated = Zlib.deflate(text, .gzip).dropFirst(10)
        for bit in 5..<8 {
            let flags = UInt8(1) << UInt8(bit)
            #expect(message(header(flags: flags) + deflated)?.contains("unknown flags") == true)
        }
        var stored = header(flags: 0) + deflated
        stored[2] = 7
        #expect(message(stored)?.hasPrefix("gzip compression method 7 is unknown") == true)
    }

    @Test func refusesADamagedHeaderThatHasAChecksum() {
        let deflated = Zlib.deflate(text, .gzip).dropFirst(10)
        var stored = header(flags: 0b1_1010) + deflated
        // In the time, which nothing else looks at.
        stored[5] ^= 1
        #expect(message(stored)?.hasPrefix("checksum of the gzip header is wrong") == true)
    }

    @Test func refusesAWrongChecksum() {
        var stored = Zlib.deflate(text, .gzip)
        stored[stored.count - 8] ^= 1
        let sum = Zlib.checksum(text)
        #expect(
            message(stored) == "gzip checksum is 0x\(String(sum ^ 1, radix: 16)), that of the"
                + " content 0x\(String(sum, radix: 16)) at compressed offset \(stored.count - 8),"
                + " uncompressed offset \(text.count)"
        )
    }

    @Test func refusesAWrongSize() {
        var stored = Zlib.deflate(text, .gzip)
        stored[stored.count - 1] ^= 1
        #expect(message(stored)?.hasPrefix("gzip member is to hold ") == true)
    }

    @Test func saysWhereItIsCorrupt() {
        let member = Zlib.deflate(text, .gzip)
        let deflated = WrongStreams.stream(.distanceTooFar)
        #expect(
            message(member + header(flags: 0) + deflated)
                == "gzip data is corrupt (distance beyond the beginning of the content) at"
                + " compressed offset \(member.count + 13), uncompressed offset \(text.count + 1)"
        )
    }

    @Test func givesWhatComesBeforeTheFaultFirst() throws {
        var stored = Zlib.deflate(text, .gzip)
        stored[stored.count - 8] ^= 1
        var decoder = GzipDecoder(ArrayStream(stored))
        var buffer = [UInt8](repeating: 0, count: text.count)
        let count = try unsafe buffer.withUnsafeMutableBytes { buffer in
            try unsafe decoder.readFully(into: buffer)
        }
        #expect(count == text.count && buffer == text)
        for _ in 0..<2 {
            #expect(throws: ContentError.self) {
                try unsafe buffer.withUnsafeMutableBytes { buffer in
                    try unsafe decoder.read(into: buffer)
                }
            }
        }
    }

    /// A member has no window from the one before it.
    @Test func repeatsNothingOfTheMemberBefore() {
        var writer = DeflateWriter()
        writer.beginBlock(type: 1)
        writer.append(DeflateWriter.Code.fixed[257])
        writer.append(.init(value: 0, length: 5))
        writer.append(DeflateWriter.Code.fixed[256])
        let second = header(flags: 0) + writer.bytes + WrongStreams.padding
        let text = message(Zlib.deflate(text, .gzip) + second)
        #expect(text?.contains("distance beyond the beginning") == true)
    }
}
