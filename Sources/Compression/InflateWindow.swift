// SPDX-License-Identifier: Apache-2.0

/// Content on its way from the decoder to the reader, and behind it the 32 KiB that matches may
/// still repeat.
@safe
final class InflateWindow {
    // It stays in a core's second-level cache together with the input.
    private static let capacity = InflateOutput.windowSize + 128 << 10
    // Slides when there is less room than that.
    private static let smallestRoom = 16 << 10

    private let memory: UnsafeMutableRawBufferPointer
    // Content 0..<taken was given out, taken..<end was not.
    private var taken = 0
    private var end = 0

    init() {
        unsafe memory = .allocate(byteCount: Self.capacity, alignment: 4096)
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// How many bytes are decoded and not given out.
    var byteCount: Int { end - taken }

    /// The last bytes before the decoder's position, at most 32 KiB: all that can be repeated.
    var history: [UInt8] {
        unsafe Array(memory[max(0, end - InflateOutput.windowSize)..<end])
    }

    /// Begins anew: nothing is there to repeat but the history.
    ///
    /// - Parameter history: of it the last 32 KiB are taken.
    func restart(_ history: [UInt8] = []) {
        let last = history.suffix(InflateOutput.windowSize)
        unsafe memory.copyBytes(from: last)
        end = last.count
        taken = end
    }

    /// Decodes into the room that there is.
    ///
    /// - Parameters:
    ///   - decoder: the decoder, in the stream that the history belongs to.
    ///   - input: the next bytes of the stream.
    ///   - stopsAtBlocks: whether to come back at the end of each block.
    ///   - trailer: brought up to date by the new content.
    /// - Returns: how many bytes of the input were taken, how many bytes there are more, and why
    ///   the decoder came back.
    func decode(
        with decoder: InflateDecoder,
        _ input: UnsafeRawBufferPointer,
        stopsAtBlocks: Bool,
        trailer: inout GzipTrailer
    ) -> (consumed: Int, produced: Int, status: InflateDecoder.Status) {
        slideIfNeeded()
        let before = end
        let (consumed, status) = unsafe decoder.decode(
            input,
            into: memory,
            at: &end,
            stopsAtBlocks: stopsAtBlocks
        )
        unsafe trailer.append(UnsafeRawBufferPointer(rebasing: memory[before..<end]))
        return (consumed, end - before, status)
    }

    /// Gives out content.
    ///
    /// - Returns: how many bytes, at most as many as the buffer takes.
    func take(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(byteCount, buffer.count)
        unsafe buffer.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: memory[taken..<taken + count])
        )
        taken += count
        return count
    }

    /// Moves the history to the front, once all is given out and room is short.
    private func slideIfNeeded() {
        guard byteCount == 0, unsafe memory.count - end < Self.smallestRoom else { return }
        unsafe memory.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: memory[end - InflateOutput.windowSize..<end])
        )
        end = InflateOutput.windowSize
        taken = end
    }
}
