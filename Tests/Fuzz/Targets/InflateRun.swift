// SPDX-License-Identifier: Apache-2.0

import Compression
import TestSupport

/// One run of our decoder over a stream, and what came of it.
struct InflateRun {
    /// How it ended.
    enum Verdict: Equatable {
        case end(consumed: Int)
        case corrupt(InflateFault)
        case truncated
        case limit

        /// The verdict of a run that began that many bytes later.
        func moved(by count: Int) -> Verdict {
            if case .end(let consumed) = self { .end(consumed: consumed + count) } else { self }
        }
    }

    /// The content up to the end or to what is wrong.
    private(set) var content: [UInt8] = []
    /// How it ended.
    private(set) var verdict = Verdict.limit
    /// Each end of a block that is not the last, in bits from the start, and the content before it.
    private(set) var boundaries: [(bit: Int, contentCount: Int)] = []

    private static let windowSize = 32 << 10
    // What must not change behind the memory that the decoder is given; behind the last of it the
    // sanitizer looks.
    private static let guardSize = 64

    /// Decodes a stream.
    ///
    /// - Parameters:
    ///   - stored: the stream.
    ///   - skippedBits: bits of the first byte that come before it.
    ///   - history: the content before it.
    ///   - seed: how input and output are split; nil for neither.
    ///   - limit: ends when there are that many bytes of content, or a few more.
    init(
        _ stored: [UInt8],
        skippedBits: Int = 0,
        history: [UInt8] = [],
        seed: UInt64?,
        limit: Int
    ) {
        var generator = SeededGenerator(seed: seed ?? 0)
        // Not so small that a long stream takes for ever.
        let pieceSize = seed == nil ? .max : Self.size(using: &generator) + stored.count / 1000
        let room = seed == nil ? 64 << 10 : Self.size(using: &generator) + stored.count / 500
        let decoder = InflateDecoder()
        decoder.restart(skippedBits: skippedBits)
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Self.windowSize + (seed == nil ? 64 << 10 : 10_000),
            alignment: 1
        )
        defer { unsafe memory.deallocate() }
        unsafe memory.copyBytes(from: history)
        var position = history.count
        var done = 0
        while content.count < limit {
            if position == memory.count {
                unsafe memory.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: memory[(position - Self.windowSize)...])
                )
                position = Self.windowSize
            }
            let most = min(pieceSize, stored.count - done)
            let count = seed == nil ? most : Int.random(in: 0...most, using: &generator)
            let end = min(memory.count, position + room)
            let before = position
            let beyond = unsafe Array(memory[end..<min(memory.count, end + Self.guardSize)])
            let step = unsafe Self.decode(
                decoder,
                stored[done..<done + count],
                UnsafeMutableRawBufferPointer(rebasing: memory[..<end]),
                &position,
                stopsAtBlocks: seed != nil
            )
            require(position >= before && position <= end, "position \(position) of \(end)")
            require(step.consumed >= 0 && step.consumed <= count, "took \(step.consumed)/\(count)")
            let isKept = unsafe memory[end...].starts(with: beyond)
            require(isKept, "bytes behind the memory were written")
            done += step.consumed
            unsafe content.append(contentsOf: memory[before..<position])
            let isStuck = done == stored.count && position == before
            if note(step.status, done, decoder, isStuck: isStuck) { return }
        }
    }

    /// Takes down why the decoder came back; true at the end.
    private mutating func note(
        _ status: InflateDecoder.Status,
        _ done: Int,
        _ decoder: InflateDecoder,
        isStuck: Bool
    ) -> Bool {
        let buffered = Int(decoder.bufferedBitCount)
        switch status {
        case .streamEnd:
            require(buffered < 8, "\(buffered) bits are kept at the end")
            verdict = .end(consumed: done)
            return true
        case .failed(let fault):
            verdict = .corrupt(fault)
            return true
        case .needsInput where isStuck:
            verdict = .truncated
            return true
        case .blockBoundary:
            require(buffered < 8, "\(buffered) bits are kept between blocks")
            boundaries.append((8 * done - buffered, content.count))
            return false
        case .needsInput, .outputFull: return false
        }
    }

    /// Decodes a piece that is in memory of its own, so that the sanitizer sees a byte more read.
    private static func decode(
        _ decoder: InflateDecoder,
        _ piece: ArraySlice<UInt8>,
        _ memory: UnsafeMutableRawBufferPointer,
        _ position: inout Int,
        stopsAtBlocks: Bool
    ) -> (consumed: Int, status: InflateDecoder.Status) {
        let input = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
        defer { unsafe input.deallocate() }
        unsafe input.copyBytes(from: piece)
        return unsafe decoder.decode(
            UnsafeRawBufferPointer(input),
            into: memory,
            at: &position,
            stopsAtBlocks: stopsAtBlocks
        )
    }

    /// The size of a piece: from a byte to all there is.
    static func size(using generator: inout SeededGenerator) -> Int {
        let most = [1, 3, 16, 40, 400, 5000, 300_000].randomElement(using: &generator) ?? 1
        return Int.random(in: 1...most, using: &generator)
    }

    /// Whether zlib says the same of the stream.
    ///
    /// One difference is ours by choice: a block whose code lengths have no code at all is corrupt
    /// at once. zlib reads each of its bits as a length of 0 and finds in the end, if the stream
    /// goes on for so long, that the end of the block has no code.
    func agrees(with content: [UInt8], _ verdict: Zlib.Verdict) -> Bool {
        switch (self.verdict, verdict) {
        case (.end(let ours), .end(let consumed)): ours == consumed && self.content == content
        case (.corrupt, .corrupt), (.truncated, .truncated): self.content == content
        case (.corrupt(.lengthsIncomplete), .truncated): self.content == content
        case (.limit, _), (_, .limit):
            self.content.starts(with: content) || content.starts(with: self.content)
        default: false
        }
    }
}
