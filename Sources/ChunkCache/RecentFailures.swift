// SPDX-License-Identifier: Apache-2.0

import Content

/// Chunks that could not be had a moment ago.
///
/// A page that the kernel read ahead in vain it asks for once more, at once and on its own, because
/// a program waits for it. That read gets the answer of the first: else it would wait for as long
/// again, past the deadline, and be logged as another failure.
struct RecentFailures {
    private struct Failure {
        var error: ContentError
        var time: UInt64
    }

    private var failures: [ChunkKey: Failure] = [:]

    /// How long an answer is given again, in nanoseconds: to the kernel, not to a program that
    /// tries once more.
    static let lifetime: UInt64 = 300_000_000
    /// How many are kept.
    private static let limit = 4096

    /// A chunk could not be had.
    ///
    /// - Parameters:
    ///   - key: the chunk.
    ///   - error: why.
    ///   - now: the time on the monotonic clock, in nanoseconds.
    mutating func note(_ key: ChunkKey, _ error: ContentError, at now: UInt64) {
        if failures.count >= Self.limit {
            failures = failures.filter { now &- $0.value.time < Self.lifetime }
            if failures.count >= Self.limit { failures.removeAll() }
        }
        failures[key] = Failure(error: error, time: now)
    }

    /// Why one of the chunks could not be had just now; nil if nothing is known against them.
    func error(of keys: some Sequence<ChunkKey>, at now: UInt64) -> ContentError? {
        guard !failures.isEmpty else { return nil }
        for key in keys {
            guard let failure = failures[key] else { continue }
            if now &- failure.time < Self.lifetime { return failure.error }
        }
        return nil
    }
}
