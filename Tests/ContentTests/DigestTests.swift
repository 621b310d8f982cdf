// SPDX-License-Identifier: Apache-2.0

import Content
import TestSupport
import Testing

@Suite("Digest")
struct DigestTests {
    private static let bytes = (0..<32).map { UInt8($0 * 8 + 1) }
    private static let hex = "0109111921293139414951596169717981899199a1a9b1b9c1c9d1d9e1e9f1f9"

    @Test func bytesHexAndOCIFormNameTheSame() throws {
        let digest = try #require(Digest(bytes: Self.bytes))
        #expect(digest.bytes == Self.bytes)
        #expect(digest.hex == Self.hex)
        #expect(digest.oci == "sha256:\(Self.hex)")
        #expect("\(digest)" == digest.oci)
        #expect(Digest(hex: Self.hex) == digest)
        #expect(Digest(oci: digest.oci) == digest)
        #expect(try Digest(([7] + Self.bytes).rawSpan, at: 1) == digest)
        #expect(Digest(hex: Digest.zero.hex) == .zero)
    }

    @Test func otherTextsAreNoDigests() {
        let hex = Self.hex
        for text in [
            "", "0", String(hex.dropLast()), hex + "0", hex + "00", hex.uppercased(),
            " \(hex.dropFirst())", "\(hex.dropLast())g", "\(hex.dropLast(2))é",
        ] {
            #expect(Digest(hex: text) == nil, "\(text)")
            #expect(Digest(oci: "sha256:\(text)") == nil, "\(text)")
        }
        for prefix in ["", "sha256", "SHA256:", "sha512:", " sha256:", "sha256::"] {
            #expect(Digest(oci: prefix + hex) == nil, "\(prefix)")
        }
    }

    @Test func takesExactlyThirtyTwoBytes() {
        for count in 0..<80 {
            let digest = Digest(bytes: [UInt8](repeating: 1, count: count))
            #expect((digest == nil) == (count != 32))
        }
        for count in 0..<40 {
            let bytes = [UInt8](repeating: 1, count: count)
            if count < 32 {
                #expect(throws: ContentError.self) { try Digest(bytes.rawSpan) }
            } else {
                #expect(throws: Never.self) { try Digest(bytes.rawSpan, at: count - 32) }
                #expect(throws: ContentError.self) { try Digest(bytes.rawSpan, at: count - 31) }
            }
        }
    }

    @Test func sortsByTheBytesFromTheFirst() throws {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<500 {
            var left = generator.bytes(32)
            var right = left
            // Mostly equal bytes, so that every position decides once.
            let position = Int.random(in: 0..<32, using: &generator)
            left[position] = UInt8.random(in: 0...255, using: &generator)
            right[position] = UInt8.random(in: 0...255, using: &generator)
            let (first, second) = (Digest(bytes: left), Digest(bytes: right))
            let a = try #require(first)
            let b = try #require(second)
            #expect((a < b) == left.lexicographicallyPrecedes(right))
            #expect((a == b) == (left == right))
            #expect((a == b) == (a.hex == b.hex))
        }
    }
}
