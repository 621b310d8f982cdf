// SPDX-License-Identifier: Apache-2.0

/// Decodes literals and matches where nothing can be missing: most of a stream.
///
/// The bounds, all from the check before each pass:
///
/// 1. `inputSize` bytes follow `bits.next`. A pass refills twice at most; each looks at 8 bytes,
///    and the first has moved on by 7 at most. So both look at input only.
/// 2. There is room for `outputSize` bytes. A pass writes four literals, or three and a match with
///    what `repeatFast` writes behind it. So all of it stays inside the memory.
/// 3. A refill leaves 56 bits or more. Three literals of the first table take 33 of them at most, a
///    fourth or a length with its extra bits 20. A distance takes 28 at most, for which there is
///    another refill if they are not there. The next entry is looked up after a refill.
/// 4. Masks and links were made together with the entries: no index is outside of a table.
/// 5. No distance reaches back beyond `output.start`, which is compared.
@safe
struct FastLoop {
    /// Why the loop ended.
    enum End {
        /// Input or room run short, or the next bits are no code for a literal or a length.
        case edge
        case blockEnd
        case fault(InflateFault)
    }

    /// What a pass may look at of the input.
    private static let inputSize = 7 + BitReader.wordSize
    /// What a pass may write.
    private static let outputSize = 3 + InflateOutput.longestMatch + InflateOutput.overshoot

    // All in registers while the loop runs.
    private let literals: UnsafePointer<DecodeEntry>
    private let literalMask: UInt64
    private let distances: UnsafePointer<DecodeEntry>
    private let distanceMask: UInt64
    private var bits: BitReader
    private var output: InflateOutput
    // What the next bits mean, which are not taken.
    private var entry: DecodeEntry

    /// Decodes until an edge, the end of the block or a fault.
    ///
    /// - Parameters:
    ///   - tables: the block's codes.
    ///   - bits: before a literal, a length or the end of the block; the same afterwards, unless
    ///     there is a fault.
    ///   - output: takes the content.
    /// - Returns: why the loop ended.
    @inline(never)
    static func run(
        _ tables: InflateTables,
        _ bits: inout BitReader,
        _ output: inout InflateOutput
    ) -> End {
        // The first refill is outside of the loop.
        guard bits.byteCount >= BitReader.wordSize + inputSize, output.room >= outputSize else {
            return .edge
        }
        var loop = FastLoop(tables, bits, output)
        let end = loop.run()
        loop.bits.normalize()
        bits = loop.bits
        output = loop.output
        return end
    }

    @inline(__always)
    private init(_ tables: InflateTables, _ bits: BitReader, _ output: InflateOutput) {
        unsafe literals = unsafe UnsafePointer(tables.literals.entries)
        literalMask = tables.literals.mask
        unsafe distances = unsafe UnsafePointer(tables.distances.entries)
        distanceMask = tables.distances.mask
        self.bits = bits
        self.output = output
        self.bits.refill()
        entry = unsafe literals[self.bits.peek(mask: literalMask)]
    }

    @inline(__always)
    private mutating func run() -> End {
        let lastInput = unsafe bits.end - Self.inputSize
        let lastOutput = unsafe output.end - Self.outputSize
        while unsafe bits.next <= lastInput, unsafe output.next <= lastOutput {
            if entry.isLiteral {
                takeLiteral()
                if entry.isLiteral {
                    takeLiteral()
                    if entry.isLiteral {
                        takeLiteral()
                        if entry.isLiteral {
                            takeLastLiteral()
                            continue
                        }
                    }
                }
            }
            if entry.isException {
                if entry.isLink {
                    unsafe follow(literals)
                    if entry.isLiteral {
                        takeLastLiteral()
                        continue
                    }
                }
                if entry.isException {
                    // Links lead to codes only: where bits are without meaning, there are none.
                    guard entry.isEnd else { return .edge }
                    bits.consumeFast(entry)
                    return .blockEnd
                }
            }
            if let fault = takeMatch() { return .fault(fault) }
        }
        return .edge
    }

    /// Takes a literal and looks at the entry after it.
    @inline(__always)
    private mutating func takeLiteral() {
        let byte = entry.byte
        bits.consumeFast(entry)
        lookUp()
        output.append(byte)
    }

    /// Takes a literal, and refills for the next pass.
    @inline(__always)
    private mutating func takeLastLiteral() {
        let byte = entry.byte
        bits.consumeFast(entry)
        bits.refill()
        lookUp()
        output.append(byte)
    }

    /// Takes a length and a distance and does what they say, having refilled for the next pass.
    @inline(__always)
    private mutating func takeMatch() -> InflateFault? {
        let length = entry.number(in: bits.buffer)
        bits.consumeFast(entry)
        if bits.fastCount < Self.longestDistance { bits.refill() }
        entry = unsafe distances[bits.peek(mask: distanceMask)]
        if entry.isException {
            guard entry.isLink else { return .distanceCode }
            unsafe follow(distances)
            guard !entry.isException else { return .distanceCode }
        }
        let distance = entry.number(in: bits.buffer)
        bits.consumeFast(entry)
        guard distance <= output.reach else { return .distanceTooFar }
        // Before the bytes are copied: the entry's way from memory is the longer one.
        bits.refill()
        lookUp()
        output.repeatFast(length: length, distance: distance)
        return nil
    }

    /// A distance's code and extra bits at most.
    private static let longestDistance: UInt64 = 15 + 13

    @inline(__always)
    private mutating func lookUp() {
        entry = unsafe literals[bits.peek(mask: literalMask)]
    }

    /// Goes from a link to the entry that it leads to.
    @inline(__always)
    private mutating func follow(_ entries: UnsafePointer<DecodeEntry>) {
        bits.consumeFast(entry)
        entry = unsafe entries[entry.value &+ bits.peek(mask: entry.linkMask)]
    }
}
