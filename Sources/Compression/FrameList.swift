// SPDX-License-Identifier: Apache-2.0

import Content

/// Where the frames of a zstd layer end, noted as they pass; used by one thread at a time.
package final class FrameList: @unchecked Sendable {
    // @unchecked: handed from one thread to another, never used by two.
    /// Some frames that are fetched and decoded together.
    package struct Unit: Hashable, Sendable {
        /// Where their stored bytes begin and end.
        package var stored: Range<UInt64>
        /// Where their content begins and ends in the uncompressed layer.
        package var content: Range<UInt64>
    }

    // The ends of frames with content, after a first one at 0.
    private var ends: [(stored: UInt64, content: UInt64)] = [(0, 0)]

    /// No frames yet.
    package init() {}

    /// How many frames with content there are.
    package var count: Int { ends.count - 1 }

    /// Takes note of the end of a frame.
    func endFrame(stored: CompressedOffset, content: UncompressedOffset) {
        // What has no content, as skippable frames, belongs to the next that has some.
        guard content.bytes > ends[ends.count - 1].content else { return }
        ends.append((stored.bytes, content.bytes))
    }

    /// The frames that hold a piece of content.
    ///
    /// - Parameters:
    ///   - content: the piece, not empty.
    ///   - unit: frames that are extended to hold it, if they then have no more content than the
    ///     limit.
    ///   - limit: how much content is fetched together, if one piece does not need more.
    /// - Returns: the frames; nil if the layer has no such content.
    package func unit(
        holding content: Range<UInt64>,
        after unit: Unit?,
        limit: UInt64
    ) -> Unit? {
        guard let last = end(behind: content.upperBound - 1) else { return nil }
        if let unit, unit.content.lowerBound <= content.lowerBound,
            content.lowerBound <= unit.content.upperBound,
            last.content <= unit.content.upperBound
                || last.content - unit.content.lowerBound <= limit
        {
            return Unit(
                stored: unit.stored.lowerBound..<max(last.stored, unit.stored.upperBound),
                content: unit.content.lowerBound..<max(last.content, unit.content.upperBound)
            )
        }
        guard let first = start(before: content.lowerBound) else { return nil }
        return Unit(stored: first.stored..<last.stored, content: first.content..<last.content)
    }

    /// The index of the first end that lies behind a byte of content.
    private func index(behind offset: UInt64) -> Int {
        var (low, high) = (0, ends.count)
        while low < high {
            let middle = (low + high) / 2
            if ends[middle].content > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private func end(behind offset: UInt64) -> (stored: UInt64, content: UInt64)? {
        let index = index(behind: offset)
        return index < ends.count ? ends[index] : nil
    }

    private func start(before offset: UInt64) -> (stored: UInt64, content: UInt64)? {
        let index = index(behind: offset)
        return index > 0 && index < ends.count ? ends[index - 1] : nil
    }
}
