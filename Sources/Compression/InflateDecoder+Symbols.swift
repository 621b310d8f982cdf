// SPDX-License-Identifier: Apache-2.0

// Literals and matches: a fast loop where nothing can be missing, a careful one at the edges of
// input and output.
extension InflateDecoder {
    func decodeSymbols(_ bits: inout BitReader, _ output: inout InflateOutput) -> Status? {
        while true {
            if matchLength > 0 {
                let count = min(matchLength, output.room)
                output.repeatAtEdge(length: count, distance: matchDistance)
                matchLength -= count
                guard matchLength == 0 else { return .outputFull }
            }
            switch FastLoop.run(tables, &bits, &output) {
            case .edge: break
            case .blockEnd: return endBlock()
            case .fault(let fault): return fail(fault)
            }
            if let status = decodeAtEdge(&bits, &output) { return status }
            guard case .symbols = phase else { return nil }
        }
    }

    /// Decodes one symbol, or nothing.
    ///
    /// - Returns: the reason to stop; nil to go on with whatever the phase is now.
    private func decodeAtEdge(_ bits: inout BitReader, _ output: inout InflateOutput) -> Status? {
        bits.refillAtEdge()
        // The longest symbol has 48 bits, so no refill is needed before its end.
        var trial = bits
        let symbol = Self.next(in: tables.literals, of: &trial)
        guard let symbol else { return .needsInput }
        if symbol.isLiteral {
            guard output.room > 0 else { return .outputFull }
            trial.consume(symbol.bitCount)
            output.append(symbol.byte)
            bits = trial
            return nil
        }
        if symbol.isException {
            guard symbol.isEnd else { return fail(.literalCode) }
            trial.consume(symbol.bitCount)
            bits = trial
            return endBlock()
        }
        let length = symbol.number(in: trial.buffer)
        trial.consume(symbol.bitCount)
        guard let second = Self.next(in: tables.distances, of: &trial) else { return .needsInput }
        guard !second.isException else { return fail(.distanceCode) }
        let distance = second.number(in: trial.buffer)
        trial.consume(second.bitCount)
        bits = trial
        guard distance <= output.reach else { return fail(.distanceTooFar) }
        matchLength = length
        matchDistance = distance
        return nil
    }

    /// The entry that the next bits lead to, or nil if they are too few for its symbol.
    ///
    /// Bits that are not there read as zeros or as what follows; an entry whose length they are
    /// enough for is the right one all the same.
    private static func next(in table: DecodeTable, of bits: inout BitReader) -> DecodeEntry? {
        var entry = unsafe table.entries[bits.peek(mask: table.mask)]
        if entry.isLink {
            guard bits.count >= entry.bitCount else { return nil }
            bits.consume(entry.bitCount)
            entry = unsafe table.entries[entry.value + bits.peek(mask: entry.linkMask)]
        }
        return bits.count >= entry.bitCount ? entry : nil
    }
}
