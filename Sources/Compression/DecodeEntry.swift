// SPDX-License-Identifier: Apache-2.0

/// What the next bits of a stream mean: one entry of a decode table, 32 bits.
///
///     bits  0-5   how many bits the symbol takes, with its extra bits
///     bits  8-11  how many of those are its code; a link: the number of bits to look at next
///     bit  13     a link to a second table
///     bit  14     no match follows: a link, the end of the block, or a code that means nothing
///     bits 16-30  the byte of a literal; the smallest length or distance of a match; where the
///                 second table begins; what an unused or the end's code is
///     bit  31     a literal
struct DecodeEntry {
    let bits: UInt32

    @inline(__always)
    init(bits: UInt32) { self.bits = bits }

    private static let literalFlag: UInt32 = 1 << 31
    private static let exceptionFlag: UInt32 = 1 << 14
    private static let linkFlag: UInt32 = 1 << 13
    private static let endValue: UInt32 = 1 << 16

    /// A literal byte, its code yet to come.
    static func literal(_ byte: UInt8) -> DecodeEntry {
        DecodeEntry(bits: literalFlag | UInt32(byte) << 16)
    }

    /// The lengths or distances from the base on, its code yet to come.
    static func match(base: UInt32, extraBits: UInt32) -> DecodeEntry {
        DecodeEntry(bits: base << 16 | extraBits)
    }

    /// A number below 2^15 without extra bits, its code yet to come.
    static func plain(_ value: UInt32) -> DecodeEntry { DecodeEntry(bits: value << 16) }

    /// The end of the block, its code yet to come.
    static let end = DecodeEntry(bits: exceptionFlag | endValue)

    /// Bits that no symbol has.
    static let unused = DecodeEntry(bits: exceptionFlag)

    /// A second table of 2^indexBits entries, for codes that are longer than this table's index.
    @inline(__always)
    static func link(start: Int, indexBits: Int, after primaryBits: Int) -> DecodeEntry {
        DecodeEntry(
            bits: exceptionFlag | linkFlag | UInt32(truncatingIfNeeded: start) &<< 16
                | UInt32(truncatingIfNeeded: indexBits) &<< 8
                | UInt32(truncatingIfNeeded: primaryBits)
        )
    }

    /// The entry with a code of that many bits.
    @inline(__always)
    func coded(in bits: Int) -> DecodeEntry {
        // In both places: the code is a part of what the symbol takes.
        DecodeEntry(bits: self.bits &+ UInt32(truncatingIfNeeded: bits) &* 0x101)
    }

    /// Whether it is a literal byte.
    @inline(__always)
    var isLiteral: Bool { Int32(bitPattern: bits) < 0 }

    /// Whether it is none of literal, length and distance.
    @inline(__always)
    var isException: Bool { bits & Self.exceptionFlag != 0 }

    /// Whether more bits must be looked at.
    @inline(__always)
    var isLink: Bool { bits & Self.linkFlag != 0 }

    /// Of an exception that is no link: whether it ends the block.
    @inline(__always)
    var isEnd: Bool { bits & Self.endValue != 0 }

    /// How many bits the symbol takes; of a link, this table's index.
    @inline(__always)
    var bitCount: UInt64 { UInt64(bits & 0x3F) }

    /// Of a literal.
    @inline(__always)
    var byte: UInt8 { UInt8(truncatingIfNeeded: bits &>> 16) }

    /// Of a plain number, of a link the second table's start.
    @inline(__always)
    var value: Int { Int(bits &>> 16) }

    /// Of a link: which bits are the second table's index.
    @inline(__always)
    var linkMask: UInt64 { 1 &<< UInt64(bits &>> 8 & 0xF) &- 1 }

    /// Of a match: its length or distance.
    ///
    /// - Parameter buffer: the next bits of the stream, beginning with the symbol's code.
    /// - Returns: the number that code and extra bits say.
    @inline(__always)
    func number(in buffer: UInt64) -> Int {
        let symbol = buffer & (1 &<< UInt64(bits) &- 1)
        return Int(truncatingIfNeeded: UInt64(bits &>> 16) &+ symbol &>> UInt64(bits &>> 8 & 0xF))
    }
}
