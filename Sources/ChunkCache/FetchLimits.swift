// SPDX-License-Identifier: Apache-2.0

/// How much a cache does at once, and how long a read waits.
package struct FetchLimits: Sendable {
    /// How many threads fetch, decompress, verify and store at most.
    ///
    /// Each has one request under way, and until it rests the pages of that request and of a chunk.
    /// More than the usual 8 read a file over 1 Gbit/s with 15 ms no faster.
    package var threads: Int
    /// How far is looked ahead of the readers.
    package var readAhead: ReadAhead
    /// After how many milliseconds a read that waits is given up; nil for never.
    package var deadlineMilliseconds: UInt64?

    /// How many threads are left for what reads wait for, when others fetch ahead.
    var demandThreads: Int { threads / 3 }

    /// Limits with the values.
    package init(
        threads: Int = 8,
        readAhead: ReadAhead = .usual,
        deadlineMilliseconds: UInt64? = 300_000
    ) {
        self.threads = max(threads, 1)
        self.readAhead = readAhead
        self.deadlineMilliseconds = deadlineMilliseconds
    }
}
