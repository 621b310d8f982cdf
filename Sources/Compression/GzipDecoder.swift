// SPDX-License-Identifier: Apache-2.0

package import Content

/// The content of a gzip file (RFC 1952): any number of members, header fields and checksums
/// verified, zeros after the last member ignored as gzip(1) does.
package struct GzipDecoder<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private enum State {
        /// Before the first member: the input must not be empty.
        case start
        case insideMember
        case trailer
        case betweenMembers
        case ended
    }

    private var input: BufferedStream<Source>
    private let decoder = InflateDecoder()
    private let window = InflateWindow()
    private var state = State.start
    // What the member's trailer must say of the content so far.
    private var trailer = GzipTrailer()
    // Whether that is known.
    private var isVerified = true
    // Where the stored bytes begin in the file.
    private let base: UInt64

    // Whether the decoder stands before a block.
    private var isBeforeBlock = false

    /// How many bytes of content were given out so far.
    package private(set) var uncompressedOffset: UncompressedOffset

    /// The content of the stored bytes.
    ///
    /// - Parameter source: a whole gzip file; read on demand, to its end.
    package init(_ source: consuming Source) {
        input = BufferedStream(source)
        base = 0
        uncompressedOffset = UncompressedOffset(0)
    }

    /// The content from a boundary between two blocks on.
    ///
    /// - Parameters:
    ///   - source: the gzip file from the boundary's byte on.
    ///   - boundary: where decoding begins.
    ///   - history: the content before it, of which at most 32 KiB matter; as `history` gave it.
    package init(_ source: consuming Source, from boundary: BlockBoundary, history: [UInt8]) {
        input = BufferedStream(source)
        base = boundary.compressedByte.bytes
        uncompressedOffset = boundary.uncompressedOffset
        state = .insideMember
        if let member = boundary.member {
            trailer = GzipTrailer(checksum: CRC32(member.checksum), size: member.size)
        } else {
            isVerified = false
        }
        window.restart(history)
        decoder.restart(skippedBits: boundary.skippedBits)
    }

    /// How many stored bytes were decoded so far: a little more than what the content given out
    /// was made of.
    package var compressedOffset: CompressedOffset { CompressedOffset((position &+ 7) / 8) }

    /// Whether all content that was decoded has been given out.
    package var isDrained: Bool { window.byteCount == 0 }

    /// The content before the decoder's position, at most 32 KiB: at a boundary, what a decoder
    /// needs that begins there.
    package var history: [UInt8] { window.history }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        while window.byteCount == 0, state != .ended { try advance(stopsAtBlocks: false) }
        return unsafe take(into: buffer)
    }

    /// Reads the next bytes of a block.
    ///
    /// - Parameter buffer: takes the bytes from its start; not empty.
    /// - Returns: how many bytes were read, perhaps 0. Before every block, the first of a member as
    ///   well, a read ends and `boundary` tells where. 0 without a boundary is the end.
    /// - Throws: what `read` throws.
    package mutating func readBlock(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        if window.byteCount == 0 {
            repeat {
                try advance(stopsAtBlocks: true)
            } while window.byteCount == 0 && state != .ended && !isBeforeBlock
        }
        return unsafe take(into: buffer)
    }

    /// Where the next block begins, if `readBlock` has just come to one.
    package var boundary: BlockBoundary? {
        guard isBeforeBlock, window.byteCount == 0 else { return nil }
        return BlockBoundary(
            compressedByte: CompressedOffset(position / 8),
            skippedBits: Int(position % 8),
            uncompressedOffset: uncompressedOffset,
            member: isVerified ? .init(checksum: trailer.checksum.value, size: trailer.size) : nil
        )
    }

    private mutating func take(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = unsafe window.take(into: buffer)
        uncompressedOffset.bytes &+= UInt64(count)
        return count
    }

    /// Does the next thing there is to do before there is content.
    private mutating func advance(stopsAtBlocks: Bool) throws(ContentError) {
        switch state {
        case .ended: break
        case .start, .betweenMembers: try beginMember()
        case .insideMember: try inflate(stopsAtBlocks: stopsAtBlocks)
        case .trailer: try checkTrailer()
        }
    }

    /// Looks for the next member, or the end.
    private mutating func beginMember() throws(ContentError) {
        let isFirst = state == .start
        if !isFirst { try skipZeros() }
        guard try skipHeader(isFirst: isFirst) else {
            state = .ended
            return
        }
        decoder.restart()
        window.restart()
        trailer = GzipTrailer()
        isVerified = true
        isBeforeBlock = true
        state = .insideMember
    }

    private mutating func skipZeros() throws(ContentError) {
        while try input.fill(atLeast: 1) > 0 {
            let available = input.buffered.byteCount
            let count = input.buffered.leadingZeroByteCount
            input.consume(count)
            guard count == available else { return }
        }
    }

    /// Reads a member's header; gives false at the end of the file.
    private mutating func skipHeader(isFirst: Bool) throws(ContentError) -> Bool {
        let start = compressedOffset
        var header = GzipHeader()
        var isEmpty = true
        while !header.isComplete {
            guard try input.fill(atLeast: 1) > 0 else {
                if isEmpty && !isFirst { return false }
                throw truncated(isEmpty ? "empty instead of gzip" : "ends inside a gzip header")
            }
            isEmpty = false
            let (consumed, fault) = unsafe input.buffered.withUnsafeBytes { unsafe header.take($0) }
            if let fault {
                throw corrupt(isFirst ? fault.text : fault.textBehindMember, at: start)
            }
            input.consume(consumed)
        }
        return true
    }

    private mutating func inflate(stopsAtBlocks: Bool) throws(ContentError) {
        let available = try input.fill(atLeast: 1)
        let (decoder, window) = (decoder, window)
        var trailer = trailer
        let step = unsafe input.buffered.withUnsafeBytes { bytes in
            unsafe window.decode(
                with: decoder,
                bytes,
                stopsAtBlocks: stopsAtBlocks,
                trailer: &trailer
            )
        }
        self.trailer = trailer
        input.consume(step.consumed)
        isBeforeBlock = step.status == .blockBoundary
        switch step.status {
        case .streamEnd: state = .trailer
        case .needsInput where available == 0 && step.produced == 0:
            throw truncated("ends inside a gzip member")
        case .failed(let fault) where step.produced == 0:
            throw corrupt("gzip data is corrupt (\(fault.rawValue))")
        case .needsInput, .outputFull, .blockBoundary, .failed: break
        }
    }

    private mutating func checkTrailer() throws(ContentError) {
        let available = try input.fill(atLeast: GzipTrailer.size)
        guard available >= GzipTrailer.size / 2 else {
            throw truncated("ends inside a gzip trailer")
        }
        let checksum = try input.buffered.littleEndian(UInt32.self, at: 0)
        let isWhole = available >= GzipTrailer.size
        let size = isWhole ? try input.buffered.littleEndian(UInt32.self, at: 4) : nil
        if isVerified, let fault = trailer.fault(checksum: checksum, size: size) {
            throw corrupt(fault)
        }
        guard isWhole else { throw truncated("ends inside a gzip trailer") }
        input.consume(GzipTrailer.size)
        state = .betweenMembers
    }

    /// Where the decoder is in the file, in bits.
    private var position: UInt64 {
        (base &+ input.offset) &* 8 &- decoder.bufferedBitCount
    }

    private func truncated(_ text: String) -> ContentError {
        .truncated("\(text) \(place(compressedOffset))")
    }

    /// What is wrong at the offset, or where the decoder is.
    private func corrupt(_ text: String, at offset: CompressedOffset? = nil) -> ContentError {
        .corrupt("\(text) \(place(offset ?? compressedOffset))")
    }

    private func place(_ offset: CompressedOffset) -> String {
        "at compressed offset \(offset), uncompressed offset \(uncompressedOffset)"
    }
}
