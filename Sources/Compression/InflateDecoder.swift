// SPDX-License-Identifier: Apache-2.0

/// Decodes one DEFLATE stream (RFC 1951) after another, in pieces of any size.
///
/// What holds between two calls:
///
/// 1. Every bit before `phase` is decoded, and no later one: a symbol is taken whole or not at all.
/// 2. `buffer` holds at most 63 bits that were taken from the input and not decoded. Only a call
///    that ended for want of input leaves 8 or more, and then the next item needs more than those:
///    so the bytes that a later call gives back are always of its own input.
/// 3. All before `InflateOutput.next` is decoded content; what stands behind it, up to the end of
///    the memory, may have been written over.
///
///     header -> stored lengths -> stored bytes ------------> header, or end
///            -> counts -> code length code -> code lengths -> symbols -> header, or end
///            -> symbols (fixed codes)
@safe
package final class InflateDecoder {
    /// Why a call came back.
    package enum Status: Equatable, Sendable {
        /// All input is taken, and it is not the end of the stream.
        case needsInput
        /// The memory is full, and it is not the end of the stream.
        case outputFull
        /// A block has ended and another one follows; only where the caller asked for it.
        case blockBoundary
        /// The stream has ended.
        case streamEnd
        /// The stream is corrupt; every call says so from now on.
        case failed(InflateFault)
    }

    enum Phase {
        case blockHeader
        case storedLengths
        case storedBytes
        case codeCounts
        case lengthsCode
        case codeLengths
        case symbols
        case streamEnd
        case failed(InflateFault)
    }

    var phase = Phase.blockHeader
    var isLastBlock = false
    private var buffer: UInt64 = 0
    private var count: UInt64 = 0
    // Bits of the first byte that belong to something else.
    var bitsToSkip: UInt64 = 0

    // Of a stored block: bytes to come.
    var storedCount = 0
    // Of a block's codes while they are read.
    let codes = CodeReader()
    // Of a block's symbols.
    var tables = InflateTables.fixed
    // Of a match that there was no room for: what is left of it.
    var matchLength = 0
    var matchDistance = 0

    // Made by the first block that brings codes.
    private var ownTables: InflateTables?

    /// A decoder at the start of a stream.
    package init() {}

    /// Bits that were taken from the input and are not decoded yet: 0 to 63.
    ///
    /// A stream's position is that of the input less these.
    package var bufferedBitCount: UInt64 { count }

    /// Begins another stream, or goes on with one at the start of a block.
    ///
    /// - Parameter skippedBits: how many bits of the first byte lie before the block, 0 to 7.
    package func restart(skippedBits: Int = 0) {
        phase = .blockHeader
        isLastBlock = false
        buffer = 0
        count = 0
        bitsToSkip = UInt64(truncatingIfNeeded: skippedBits & 7)
        storedCount = 0
        matchLength = 0
    }

    /// Decodes what there is input and room for.
    ///
    /// - Parameters:
    ///   - input: the next bytes of the stream.
    ///   - memory: takes the content. Before the position it holds the content that precedes it:
    ///     all there is, or at least the last 32 KiB.
    ///   - position: where the next byte goes; moved past what was decoded. Bytes behind it may
    ///     have been changed.
    ///   - stopsAtBlocks: whether to come back at the end of each block.
    /// - Returns: how many bytes of the input were taken, and why it came back.
    package func decode(
        _ input: UnsafeRawBufferPointer,
        into memory: UnsafeMutableRawBufferPointer,
        at position: inout Int,
        stopsAtBlocks: Bool = false
    ) -> (consumed: Int, status: Status) {
        // Empty buffers have no address; a decoder that has no room or input wants one to compare.
        let nowhere = unsafe UnsafeMutablePointer<UInt8>(bitPattern: 1)
        guard position >= 0, position <= memory.count, let nowhere = unsafe nowhere else {
            return (0, .outputFull)
        }
        let inputStart = unsafe input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let start = unsafe inputStart ?? UnsafePointer(nowhere)
        let memoryStart = unsafe memory.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? nowhere
        var bits = unsafe BitReader(
            buffer: buffer,
            count: count,
            next: start,
            end: start + input.count
        )
        var output = unsafe InflateOutput(
            start: memoryStart,
            next: memoryStart + position,
            end: memoryStart + memory.count
        )
        let status = run(&bits, &output, stopsAtBlocks)
        if status != .needsInput { unsafe bits.giveBack(to: start) }
        buffer = bits.buffer
        count = bits.count
        position = output.reach
        return unsafe (bits.next - start, status)
    }

    private func run(
        _ bits: inout BitReader,
        _ output: inout InflateOutput,
        _ stopsAtBlocks: Bool
    ) -> Status {
        while true {
            let status: Status? =
                switch phase {
                case .blockHeader: readBlockHeader(&bits)
                case .storedLengths: readStoredLengths(&bits)
                case .storedBytes: copyStored(&bits, &output)
                case .codeCounts: readCodeCounts(&bits)
                case .lengthsCode: readLengthsCode(&bits)
                case .codeLengths: readCodeLengths(&bits)
                case .symbols: decodeSymbols(&bits, &output)
                case .streamEnd: .streamEnd
                case .failed(let fault): .failed(fault)
                }
            switch status {
            case nil: continue
            case .blockBoundary where !stopsAtBlocks: continue
            case .some(let status): return status
            }
        }
    }

    /// The block has ended.
    func endBlock() -> Status? {
        phase = isLastBlock ? .streamEnd : .blockHeader
        return isLastBlock ? nil : .blockBoundary
    }

    /// The stream is corrupt.
    func fail(_ fault: InflateFault) -> Status? {
        phase = .failed(fault)
        return nil
    }

    /// The tables that this block's codes go into.
    func makeTables() -> InflateTables {
        let tables = ownTables ?? InflateTables()
        ownTables = tables
        return tables
    }
}
