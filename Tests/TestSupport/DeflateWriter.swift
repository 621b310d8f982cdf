// SPDX-License-Identifier: Apache-2.0

/// A DEFLATE stream written bit by bit (RFC 1951), as no compressor would.
package struct DeflateWriter {
    /// The stream so far; the bits of the last byte that are not written are zeros.
    package private(set) var bytes: [UInt8] = []
    // Bits of the last byte that are written; 0 for all.
    private var usedBits = 0

    /// An empty stream.
    package init() {}

    /// Writes a number, its lowest bit first.
    package mutating func append(_ value: Int, bits: Int) {
        for bit in 0..<bits {
            if usedBits == 0 { bytes.append(0) }
            bytes[bytes.count - 1] |= UInt8(value >> bit & 1) << UInt8(usedBits)
            usedBits = (usedBits + 1) % 8
        }
    }

    /// Writes a code, its highest bit first.
    package mutating func append(_ code: Code) {
        for bit in (0..<code.length).reversed() { append(code.value >> bit, bits: 1) }
    }

    /// Writes the first bits of a block: 0 for stored, 1 for fixed codes, 2 for its own codes.
    package mutating func beginBlock(type: Int, isLast: Bool = true) {
        append(isLast ? 1 : 0, bits: 1)
        append(type, bits: 2)
    }

    /// Writes a stored block.
    package mutating func appendStored(_ content: [UInt8], isLast: Bool = true) {
        beginBlock(type: 0, isLast: isLast)
        usedBits = 0
        append(content.count, bits: 16)
        append(~content.count, bits: 16)
        bytes += content
    }

    /// Begins a block that brings its own codes, whose lengths are written in four bits each.
    ///
    /// - Parameters:
    ///   - literals: the length of each literal's code; zeros are added up to the end of the block.
    ///   - distances: the length of each distance's code, at least one.
    ///   - isLast: whether no block follows.
    package mutating func beginBlock(literals: [Int], distances: [Int], isLast: Bool = true) {
        // Lengths 0 to 15 have codes of four bits, repetitions none.
        beginBlock(
            counts: (max(literals.count, 257), distances.count),
            lengthsCode: [Int](repeating: 4, count: 16) + [0, 0, 0],
            isLast: isLast
        )
        let padding = [Int](repeating: 0, count: max(0, 257 - literals.count))
        for length in literals + padding + distances { append(Code(value: length, length: 4)) }
    }

    /// Begins a block that brings its own codes, up to where their lengths are.
    ///
    /// - Parameters:
    ///   - counts: how many codes there are for literals and lengths, and for distances.
    ///   - lengthsCode: the lengths of the 19 codes that those lengths are written in.
    ///   - isLast: whether no block follows.
    package mutating func beginBlock(
        counts: (literals: Int, distances: Int),
        lengthsCode: [Int],
        isLast: Bool = true
    ) {
        beginBlock(type: 2, isLast: isLast)
        append(counts.literals - 257, bits: 5)
        append(counts.distances - 1, bits: 5)
        append(15, bits: 4)
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        for symbol in order { append(lengthsCode[symbol], bits: 3) }
    }

    /// A Huffman code.
    package struct Code {
        /// Its bits as a number, the first highest.
        package var value: Int
        /// How many bits.
        package var length: Int

        /// The code of that value and length.
        package init(value: Int, length: Int) {
            self.value = value
            self.length = length
        }

        /// The codes that the lengths give (RFC 1951 section 3.2.2).
        package static func codes(_ lengths: [Int]) -> [Code] {
            var codes = lengths.map { Code(value: 0, length: $0) }
            var next = 0
            for length in 1...15 {
                next <<= 1
                for symbol in lengths.indices where lengths[symbol] == length {
                    codes[symbol].value = next
                    next += 1
                }
            }
            return codes
        }

        /// The codes of literals and lengths where a block brings none.
        package static let fixed = codes(
            [Int](repeating: 8, count: 144) + [Int](repeating: 9, count: 112)
                + [Int](repeating: 7, count: 24) + [Int](repeating: 8, count: 8)
        )
    }
}
