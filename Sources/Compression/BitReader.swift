// SPDX-License-Identifier: Apache-2.0

/// The bits of a DEFLATE stream, each byte's lowest first (RFC 1951 section 3.1.1), taken from
/// memory by whole words.
///
/// Lives during one call: what is kept until the next is `buffer` and `count`.
@safe
struct BitReader {
    /// The next bits, the first of them lowest.
    ///
    /// Above the counted ones stand zeros or the bits that follow them in the input: a refill puts
    /// the same bits there again.
    private(set) var buffer: UInt64
    /// How many bits of the buffer are counted as taken from the input: 0 to 63.
    private(set) var count: UInt64
    /// The first byte of which no bit is counted.
    private(set) var next: UnsafePointer<UInt8>
    /// Where the input ends.
    let end: UnsafePointer<UInt8>

    /// Bytes that `refill` looks at.
    static let wordSize = 8
    /// Bits that are there after a refill, unless the input ends before.
    static let refilled: UInt64 = 56

    @inline(__always)
    init(
        buffer: UInt64,
        count: UInt64,
        next: UnsafePointer<UInt8>,
        end: UnsafePointer<UInt8>
    ) {
        self.buffer = buffer
        self.count = count
        unsafe self.next = unsafe next
        unsafe self.end = unsafe end
    }

    /// Bytes from `next` to the end of the input.
    @inline(__always)
    var byteCount: Int { unsafe end - next }

    /// Takes whole bytes until 56 to 63 bits are there.
    ///
    /// The caller has made sure that 8 bytes follow `next`; at most 7 of them are taken. Works
    /// between `consumeFast` and `normalize` as well.
    @inline(__always)
    mutating func refill() {
        let word = unsafe UnsafeRawPointer(next).loadUnaligned(as: UInt64.self)
        buffer |= UInt64(littleEndian: word) &<< count
        unsafe next += Int(truncatingIfNeeded: 7 &- (count &>> 3 & 7))
        count |= Self.refilled
    }

    /// Takes whole bytes until 56 bits are there, or the input ends.
    @inline(__always)
    mutating func refillAtEdge() {
        if byteCount >= Self.wordSize {
            refill()
            return
        }
        while count < Self.refilled, byteCount > 0 {
            buffer |= unsafe UInt64(next.pointee) &<< count
            unsafe next += 1
            count &+= 8
        }
    }

    /// The next bits, not taken: those that the mask keeps.
    @inline(__always)
    func peek(mask: UInt64) -> Int { Int(truncatingIfNeeded: buffer & mask) }

    /// Removes that many bits, at most as many as are there.
    @inline(__always)
    mutating func consume(_ bits: UInt64) {
        buffer = buffer &>> bits
        count &-= bits
    }

    /// Removes the bits of a symbol, which are there.
    ///
    /// Shifts look at the lowest 6 bits of a number only. So the whole entry will do, whose lowest
    /// 6 say how many bits it takes, and it will do for the count: whatever gets into the bits
    /// above the sixth stays there until `normalize`.
    @inline(__always)
    mutating func consumeFast(_ entry: DecodeEntry) {
        buffer = buffer &>> UInt64(entry.bits)
        count &-= UInt64(entry.bits)
    }

    /// How many bits are counted, also between `consumeFast` and `normalize`.
    @inline(__always)
    var fastCount: UInt64 { count & 0x3F }

    /// Makes the count whole again.
    mutating func normalize() { count = fastCount }

    /// Removes and gives that many bits, at most 32 and at most as many as are there.
    @inline(__always)
    mutating func take(_ bits: UInt64) -> Int {
        let value = peek(mask: 1 &<< bits &- 1)
        consume(bits)
        return value
    }

    /// Removes the bits up to the next byte of the stream.
    @inline(__always)
    mutating func alignToByte() { consume(count & 7) }

    /// Gives whole bytes back to the input, but none that came before `start`, and forgets what
    /// stands above the counted bits.
    mutating func giveBack(to start: UnsafePointer<UInt8>) {
        let bytes = unsafe min(Int(truncatingIfNeeded: count &>> 3), next - start)
        unsafe next -= bytes
        count &-= UInt64(truncatingIfNeeded: bytes) &<< 3
        buffer &= 1 &<< count &- 1
    }

    /// Takes bytes of the input past the buffer, which holds no bit.
    ///
    /// - Parameter byteCount: at most as many as there are.
    mutating func skip(_ byteCount: Int) {
        unsafe next += byteCount
        // What stood above the counted bits were bits of those bytes.
        buffer = 0
    }
}
