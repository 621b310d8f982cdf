// SPDX-License-Identifier: Apache-2.0

package import Content

/// BLAKE3 in its hash mode, 32 bytes of output: github.com/BLAKE3-team/BLAKE3-specs.
///
/// The input is cut into pieces of 1024 bytes (the specification's chunks), each hashed block by
/// block into a chaining value; neighbours are hashed in pairs, level by level, an odd one goes up
/// as it is, until one is left. Four pieces or pairs are worked on at once, one in each lane of a
/// vector: their operations are the same.
package enum BLAKE3 {
    private typealias Lanes = SIMD4<UInt32>

    private static let laneCount = 4
    private static let pieceSize = 1024
    private static let blockSize = 64
    /// The words of a chaining value.
    private static let valueSize = 8

    /// Tells the uses of the compression function apart.
    private enum Flag {
        static let pieceStart: UInt32 = 1
        static let pieceEnd: UInt32 = 2
        static let parent: UInt32 = 4
        static let root: UInt32 = 8
    }

    /// The digest of the bytes.
    package static func digest(of bytes: RawSpan) -> Digest {
        unsafe bytes.withUnsafeBytes { unsafe digest(of: $0) }
    }

    /// The digest of the bytes.
    package static func digest(of bytes: UnsafeRawBufferPointer) -> Digest {
        let count = max(1, (bytes.count + pieceSize - 1) / pieceSize)
        // Chaining values one after another; those of lanes without work are cut off.
        var values: [UInt32] = []
        values.reserveCapacity((count + laneCount) * valueSize)
        for first in stride(from: 0, to: count, by: laneCount) {
            unsafe appendPieces(from: first, of: bytes, isRoot: count == 1, to: &values)
        }
        values.removeSubrange((count * valueSize)...)
        while values.count > valueSize { values = parents(of: values) }
        var words: [UInt8] = []
        words.reserveCapacity(Digest.byteCount)
        for word in values { words.appendLittleEndian(word) }
        guard let digest = Digest(bytes: words) else {
            preconditionFailure("a chaining value has 8 words of 4 bytes")
        }
        return digest
    }

    /// Appends the chaining values of four pieces; those past the input's end mean nothing.
    private static func appendPieces(
        from first: Int,
        of bytes: UnsafeRawBufferPointer,
        isRoot: Bool,
        to values: inout [UInt32]
    ) {
        var chain = initialValue
        var counter = (low: Lanes(), high: Lanes())
        var sizes = SIMD4<Int>()
        for lane in 0..<laneCount {
            counter.low[lane] = UInt32(truncatingIfNeeded: first + lane)
            counter.high[lane] = UInt32(truncatingIfNeeded: (first + lane) >> 32)
            sizes[lane] = min(max(0, bytes.count - (first + lane) * pieceSize), pieceSize)
        }
        for start in stride(from: 0, to: max(sizes[0], 1), by: blockSize) {
            var length = Lanes()
            var flags = Lanes(repeating: start == 0 ? Flag.pieceStart : 0)
            var isActive = SIMDMask<SIMD4<Int32>>()
            for lane in 0..<laneCount {
                length[lane] = UInt32(min(max(0, sizes[lane] - start), blockSize))
                isActive[lane] = start == 0 || sizes[lane] > start
                if start + blockSize >= sizes[lane] {
                    flags[lane] |= Flag.pieceEnd | (isRoot ? Flag.root : 0)
                }
            }
            let place = first * pieceSize + start
            let block = unsafe block(at: place, of: bytes, isWhole: length.min() == 64)
            let next = compress(chain, block, counter.low, counter.high, length, flags)
            for word in 0..<valueSize { chain[word].replace(with: next[word], where: isActive) }
        }
        append(chain, to: &values)
    }

    /// The words of four blocks, a piece apart; what lies past the input's end is zero.
    private static func block(
        at place: Int,
        of bytes: UnsafeRawBufferPointer,
        isWhole: Bool
    ) -> [16 of Lanes] {
        var words = [16 of Lanes](repeating: Lanes())
        guard isWhole else {
            for lane in 0..<laneCount {
                let start = place + lane * pieceSize
                // Not past the end of the lane's piece: its successor is the next lane's.
                let limit = (start / pieceSize + 1) * pieceSize
                let end = min(bytes.count, start + blockSize, limit)
                for (index, position) in (min(start, end)..<end).enumerated() {
                    words[index / 4][lane] |=
                        unsafe UInt32(bytes[position]) << UInt32(index % 4 * 8)
                }
            }
            return words
        }
        for word in 0..<16 {
            let start = place + word * 4
            unsafe words[word] = Lanes(
                load(start, bytes),
                load(start + pieceSize, bytes),
                load(start + 2 * pieceSize, bytes),
                load(start + 3 * pieceSize, bytes)
            )
        }
        return words
    }

    @inline(__always)
    private static func load(_ offset: Int, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The chaining values of pairs, and the last value if it has no partner.
    private static func parents(of values: [UInt32]) -> [UInt32] {
        let pairSize = 2 * valueSize
        let count = values.count / pairSize
        let isRoot = values.count == pairSize
        var result: [UInt32] = []
        result.reserveCapacity((count + laneCount + 1) * valueSize)
        for first in stride(from: 0, to: count, by: laneCount) {
            var block = [16 of Lanes](repeating: Lanes())
            for lane in 0..<min(laneCount, count - first) {
                let start = (first + lane) * pairSize
                for word in 0..<pairSize { block[word][lane] = values[start + word] }
            }
            let parents = compress(
                initialValue,
                block,
                Lanes(),
                Lanes(),
                Lanes(repeating: UInt32(blockSize)),
                Lanes(repeating: Flag.parent | (isRoot ? Flag.root : 0))
            )
            append(parents, to: &result)
        }
        result.removeSubrange((count * valueSize)...)
        result.append(contentsOf: values[(count * pairSize)...])
        return result
    }

    private static func append(_ chain: [8 of Lanes], to values: inout [UInt32]) {
        for lane in 0..<laneCount {
            for word in 0..<valueSize { values.append(chain[word][lane]) }
        }
    }

    /// The initial chaining value: that of SHA-256.
    private static var initialValue: [8 of Lanes] {
        [
            Lanes(repeating: 0x6a09_e667), Lanes(repeating: 0xbb67_ae85),
            Lanes(repeating: 0x3c6e_f372), Lanes(repeating: 0xa54f_f53a),
            Lanes(repeating: 0x510e_527f), Lanes(repeating: 0x9b05_688c),
            Lanes(repeating: 0x1f83_d9ab), Lanes(repeating: 0x5be0_cd19),
        ]
    }

    /// The compression function on four blocks: seven rounds, the message permuted in between.
    private static func compress(
        _ chain: [8 of Lanes],
        _ block: [16 of Lanes],
        _ counterLow: Lanes,
        _ counterHigh: Lanes,
        _ length: Lanes,
        _ flags: Lanes
    ) -> [8 of Lanes] {
        var m = block
        let initial = initialValue
        var state = State(
            a: (chain[0], chain[1], chain[2], chain[3]),
            b: (chain[4], chain[5], chain[6], chain[7]),
            c: (initial[0], initial[1], initial[2], initial[3]),
            d: (counterLow, counterHigh, length, flags)
        )
        for _ in 0..<6 {
            state.round(m)
            m = [
                m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13],
                m[1], m[11], m[12], m[5], m[9], m[14], m[15], m[8],
            ]
        }
        state.round(m)
        let (a, b, c, d) = (state.a, state.b, state.c, state.d)
        return [
            a.0 ^ c.0, a.1 ^ c.1, a.2 ^ c.2, a.3 ^ c.3,
            b.0 ^ d.0, b.1 ^ d.1, b.2 ^ d.2, b.3 ^ d.3,
        ]
    }

    /// The sixteen words of the state, as a square of four rows.
    private struct State {
        typealias Row = (Lanes, Lanes, Lanes, Lanes)
        var a: Row
        var b: Row
        var c: Row
        var d: Row

        /// Mixes the columns, then the diagonals.
        @inline(__always)
        mutating func round(_ m: [16 of Lanes]) {
            Self.mix(&a.0, &b.0, &c.0, &d.0, m[0], m[1])
            Self.mix(&a.1, &b.1, &c.1, &d.1, m[2], m[3])
            Self.mix(&a.2, &b.2, &c.2, &d.2, m[4], m[5])
            Self.mix(&a.3, &b.3, &c.3, &d.3, m[6], m[7])
            Self.mix(&a.0, &b.1, &c.2, &d.3, m[8], m[9])
            Self.mix(&a.1, &b.2, &c.3, &d.0, m[10], m[11])
            Self.mix(&a.2, &b.3, &c.0, &d.1, m[12], m[13])
            Self.mix(&a.3, &b.0, &c.1, &d.2, m[14], m[15])
        }

        @inline(__always)
        private static func mix(
            _ a: inout Lanes,
            _ b: inout Lanes,
            _ c: inout Lanes,
            _ d: inout Lanes,
            _ x: Lanes,
            _ y: Lanes
        ) {
            a = a &+ b &+ x
            d = rotated(d ^ a, by: 16)
            c = c &+ d
            b = rotated(b ^ c, by: 12)
            a = a &+ b &+ y
            d = rotated(d ^ a, by: 8)
            c = c &+ d
            b = rotated(b ^ c, by: 7)
        }

        /// The words rotated to the right.
        ///
        /// Multiplied instead of shifted to the left: of two shifts the optimizer makes a rotation
        /// of each lane alone, at little more than half the speed.
        @inline(__always)
        private static func rotated(_ words: Lanes, by count: UInt32) -> Lanes {
            words &>> Lanes(repeating: count) | words &* Lanes(repeating: 1 << (32 - count))
        }
    }
}
