// SPDX-License-Identifier: Apache-2.0

package import Content

/// Gives bytes in small pieces, so that every boundary inside a format falls between two reads.
package struct TrickleStream: ByteStream {
    private let bytes: [UInt8]
    private let piece: Int
    private var position = 0

    /// The bytes, at most `piece` of them with each read.
    package init(_ bytes: [UInt8], piece: Int = 1) {
        self.bytes = bytes
        self.piece = piece
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        let count = min(buffer.count, piece, bytes.count - position)
        unsafe buffer.copyBytes(from: bytes[position..<position + count])
        position += count
        return count
    }
}

/// Random numbers that are the same in every run (splitmix64).
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// The sequence of that seed.
    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }

    /// Bytes no compressor can make smaller.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

/// Text-like bytes that compress well: numbered lines.
package func lines(_ count: Int) -> [UInt8] {
    Array((0..<count).map { "line \($0) of a text that repeats itself\n" }.joined().utf8)
}

/// The bytes with each single bit flipped in turn, or every n-th of them.
package func bitFlips(of bytes: [UInt8], every step: Int = 1) -> some Sequence<[UInt8]> {
    stride(from: 0, to: bytes.count * 8, by: step).lazy.map { bit in
        var flipped = bytes
        flipped[bit / 8] ^= 1 << UInt8(bit % 8)
        return flipped
    }
}
