// SPDX-License-Identifier: Apache-2.0

import Content

/// Finds the bytes of a window that a span repeats.
///
/// The span's first 32 KiB are decoded three times, with windows of which each byte tells the low
/// half of its place, the high half, and the complement of the low half. What differs between the
/// first and the last was repeated from the window; the first two say from where.
final class WindowProbe {
    private let decoder = SpanDecoder()
    private var memory = (0..<3).map { _ in
        [UInt8](repeating: 0, count: SpanDecoder.contentOffset + Checkpoint.windowSize)
    }
    private static let labels: [[UInt8]] = {
        let places = 0..<Checkpoint.windowSize
        return [
            places.map { UInt8(truncatingIfNeeded: $0) },
            places.map { UInt8(truncatingIfNeeded: $0 >> 8) },
            places.map { ~UInt8(truncatingIfNeeded: $0) },
        ]
    }()

    /// Sets the bytes to zero that the span does not repeat, and pads the window to its full size;
    /// it becomes empty if the span repeats nothing.
    ///
    /// - Parameters:
    ///   - window: the window; as it is if the span cannot be decoded.
    ///   - stored: the span's bytes; more than are needed do no harm.
    ///   - checkpoint: where it begins.
    ///   - count: how much content is looked at, in bytes: 32 KiB, or all.
    func clear(
        _ window: inout [UInt8],
        _ stored: ArraySlice<UInt8>,
        _ checkpoint: Checkpoint,
        count: Int
    ) {
        let missing = Checkpoint.windowSize - window.count
        if missing > 0 { window = [UInt8](repeating: 0, count: missing) + window }
        guard decode(stored, checkpoint, count) else { return }
        var isUsed = false
        var used = [Bool](repeating: false, count: Checkpoint.windowSize)
        let start = SpanDecoder.contentOffset
        for index in start..<start + count where memory[0][index] != memory[2][index] {
            used[Int(memory[0][index]) | Int(memory[1][index]) << 8 & 0x7FFF] = true
            isUsed = true
        }
        guard isUsed else {
            window = []
            return
        }
        for index in window.indices where !used[index] { window[index] = 0 }
    }

    private func decode(
        _ stored: ArraySlice<UInt8>,
        _ checkpoint: Checkpoint,
        _ count: Int
    ) -> Bool {
        do {
            for (index, labels) in Self.labels.enumerated() {
                try unsafe memory[index].withUnsafeMutableBytes { memory in
                    try unsafe stored.withUnsafeBytes { stored in
                        try unsafe decoder.decode(
                            stored,
                            from: checkpoint,
                            window: labels.rawSpan,
                            into: UnsafeMutableRawBufferPointer(
                                rebasing: memory[..<(SpanDecoder.contentOffset + count)]
                            )
                        )
                    }
                }
            }
            return true
        } catch {
            return false
        }
    }
}
