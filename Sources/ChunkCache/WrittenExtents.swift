// SPDX-License-Identifier: Apache-2.0

/// Which parts of a file were written, in two generations: since the last flush, and before it.
struct WrittenExtents {
    /// More parts than this are kept as one that holds them all.
    private static let limit = 4096

    private var current: [Range<UInt64>] = []
    private var previous: [Range<UInt64>] = []

    /// A part is written.
    mutating func add(_ range: Range<UInt64>) {
        if let last = current.last, last.upperBound == range.lowerBound {
            current[current.count - 1] = last.lowerBound..<range.upperBound
        } else if current.count < Self.limit {
            current.append(range)
        } else {
            let start = current.reduce(range.lowerBound) { min($0, $1.lowerBound) }
            let end = current.reduce(range.upperBound) { max($0, $1.upperBound) }
            current = [start..<end]
        }
    }

    /// A flush has ended.
    ///
    /// - Returns: what was written before the flush before it.
    mutating func nextGeneration() -> [Range<UInt64>] {
        defer {
            previous = current
            current = []
        }
        return previous
    }
}
