// SPDX-License-Identifier: Apache-2.0

// What stands before the symbols of a block, and blocks without symbols. Every step leaves the bits
// alone if there are too few, and is repeated when there are more.
extension InflateDecoder {
    /// RFC 1951 section 3.2.3.
    func readBlockHeader(_ bits: inout BitReader) -> Status? {
        bits.refillAtEdge()
        guard bits.count >= bitsToSkip &+ 3 else { return .needsInput }
        bits.consume(bitsToSkip)
        bitsToSkip = 0
        isLastBlock = bits.take(1) == 1
        switch bits.take(2) {
        case 0:
            bits.alignToByte()
            phase = .storedLengths
        case 1:
            tables = .fixed
            phase = .symbols
        case 2: phase = .codeCounts
        default: return fail(.blockType)
        }
        return nil
    }

    /// RFC 1951 section 3.2.4.
    func readStoredLengths(_ bits: inout BitReader) -> Status? {
        bits.refillAtEdge()
        guard bits.count >= 32 else { return .needsInput }
        storedCount = bits.take(16)
        let complement = bits.take(16)
        guard storedCount == complement ^ 0xFFFF else { return fail(.storedLength) }
        phase = .storedBytes
        return nil
    }

    func copyStored(_ bits: inout BitReader, _ output: inout InflateOutput) -> Status? {
        // Whole bytes only stand in the buffer, fewer than 5; a copy past them would be out of
        // order.
        while bits.count > 0, storedCount > 0 {
            guard output.room > 0 else { return .outputFull }
            output.append(UInt8(truncatingIfNeeded: bits.take(8)))
            storedCount -= 1
        }
        let count = min(storedCount, bits.byteCount, output.room)
        if count > 0 {
            unsafe output.next.update(from: bits.next, count: count)
            unsafe output.next += count
            bits.skip(count)
            storedCount -= count
        }
        guard storedCount > 0 else { return endBlock() }
        return output.room == 0 ? .outputFull : .needsInput
    }

    /// RFC 1951 section 3.2.7: how many codes there are of each kind.
    func readCodeCounts(_ bits: inout BitReader) -> Status? {
        bits.refillAtEdge()
        guard bits.count >= 14 else { return .needsInput }
        codes.begin(
            literals: 257 + bits.take(5),
            distances: 1 + bits.take(5),
            lengths: 4 + bits.take(4)
        )
        guard codes.isCountValid else { return fail(.codeCount) }
        phase = .lengthsCode
        return nil
    }

    func readLengthsCode(_ bits: inout BitReader) -> Status? {
        while !codes.hasLengthsCode {
            bits.refillAtEdge()
            guard bits.count >= 3 else { return .needsInput }
            codes.appendToLengthsCode(bits.take(3))
        }
        if let fault = codes.buildLengthsCode() { return fail(fault) }
        phase = .codeLengths
        return nil
    }

    func readCodeLengths(_ bits: inout BitReader) -> Status? {
        while !codes.isComplete {
            bits.refillAtEdge()
            let entry = codes.entry(of: bits)
            guard bits.count >= codes.bitCount(of: entry) else { return .needsInput }
            if let fault = codes.append(entry, &bits) { return fail(fault) }
        }
        let tables = makeTables()
        if let fault = codes.build(tables) { return fail(fault) }
        self.tables = tables
        phase = .symbols
        return nil
    }
}
