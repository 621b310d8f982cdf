// SPDX-License-Identifier: Apache-2.0

package import Content

/// Decodes spans of gzip layers, each from its checkpoint on, across the ends of members.
///
/// Who calls verifies the content: a checkpoint that is wrong gives an error or other bytes, never
/// an access outside of the memory. The checksums of members are not looked at, since spans hold
/// parts of members.
@safe
package final class SpanDecoder {
    private let decoder = InflateDecoder()

    /// A decoder, to be used for one span after another.
    package init() {}

    /// Where the content goes in the memory that `decode` gets: the window stands before it.
    package static let contentOffset = Checkpoint.windowSize

    /// Decodes one span.
    ///
    /// - Parameters:
    ///   - stored: the span's bytes.
    ///   - checkpoint: where its first block begins.
    ///   - window: the content before that; not looked at where nothing is repeated of it.
    ///   - memory: the content is put at `contentOffset` and fills it to its end; undefined if an
    ///     error is thrown.
    /// - Throws: `ContentError` if the span is corrupt, or holds less content than the memory
    ///   takes.
    package func decode(
        _ stored: UnsafeRawBufferPointer,
        from checkpoint: Checkpoint,
        window: RawSpan,
        into memory: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        guard window.byteCount <= Checkpoint.windowSize, memory.count >= Self.contentOffset,
            0...7 ~= checkpoint.bitCount
        else {
            throw .corrupt(
                "checkpoint with a window of \(window.byteCount) bytes, in mid-byte by"
                    + " \(checkpoint.bitCount) bits"
            )
        }
        let position = Self.contentOffset
        let start = position - window.byteCount
        unsafe window.withUnsafeBytes { window in
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start..<position])
                .copyMemory(from: window)
        }
        decoder.restart(skippedBits: (8 - checkpoint.bitCount) & 7)
        if checkpoint.bitCount > 0 { try unsafe takeBits(of: checkpoint, into: memory) }
        try unsafe decode(stored, into: memory, from: position, windowStart: start)
    }

    /// Gives the decoder the bits that the first block has in the byte before the span.
    ///
    /// They are too few for anything but a block's header: nothing is written.
    private func takeBits(
        of checkpoint: Checkpoint,
        into memory: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        var byte = checkpoint.byte
        var position = Self.contentOffset
        let (_, status) = unsafe withUnsafeBytes(of: &byte) { byte in
            unsafe decoder.decode(byte, into: memory, at: &position)
        }
        if case .failed(let fault) = status { throw Self.corrupt(fault, at: 0) }
        guard position == Self.contentOffset else {
            throw .corrupt("checkpoint is no block's start")
        }
    }

    /// Fills the memory from the position on.
    private func decode(
        _ stored: UnsafeRawBufferPointer,
        into memory: UnsafeMutableRawBufferPointer,
        from first: Int,
        windowStart: Int
    ) throws(ContentError) {
        var rest = unsafe stored
        var position = first
        // The oldest byte that may be repeated.
        var start = windowStart
        while position < memory.count {
            let room = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start...])
            var place = position - start
            let (consumed, status) = unsafe decoder.decode(rest, into: room, at: &place)
            position = start + place
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
            let missing = memory.count - position
            switch status {
            case .failed(let fault): throw Self.corrupt(fault, at: stored.count - rest.count)
            case .needsInput where missing > 0:
                throw .truncated("span ends \(missing) bytes of content early")
            case .streamEnd where missing > 0:
                let end = stored.count - rest.count
                try unsafe beginMember(&rest, at: end)
                start = position
            case .needsInput, .outputFull, .blockBoundary, .streamEnd: break
            }
        }
    }

    /// Goes from the end of a member's stream to the start of the next one's.
    private func beginMember(
        _ rest: inout UnsafeRawBufferPointer,
        at offset: Int
    ) throws(ContentError) {
        guard rest.count > GzipTrailer.size else {
            throw .truncated("span ends with a member, at byte \(offset), content early")
        }
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[GzipTrailer.size...])
        // As between members anywhere.
        let zeros = unsafe RawSpan(_unsafeBytes: rest).leadingZeroByteCount
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[zeros...])
        var header = GzipHeader()
        let (consumed, fault) = unsafe header.take(rest)
        if let fault { throw .corrupt("\(fault.textBehindMember), at byte \(offset) of the span") }
        guard header.isComplete else { throw .truncated("span ends inside a gzip header") }
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
        decoder.restart()
    }

    private static func corrupt(_ fault: InflateFault, at offset: Int) -> ContentError {
        .corrupt("span is corrupt (\(fault.rawValue)) at its byte \(offset)")
    }
}
