// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// What a cache has done since it was opened.
package struct CacheStatistics: Sendable, Equatable {
    /// Reads, answered or not.
    package var reads: Int
    /// Reads whose chunks were all here.
    package var hits: Int
    /// Requests to blob sources that gave their bytes.
    package var fetches: Int
    /// The bytes that these gave, as stored.
    package var fetchedBytes: Int
    /// Requests that failed, and chunks that turned out corrupt.
    package var failures: Int
}

/// The numbers behind `CacheStatistics`; each counts by itself.
final class CacheCounters: Sendable {
    private let reads = Atomic(0)
    private let hits = Atomic(0)
    private let fetches = Atomic(0)
    private let fetchedBytes = Atomic(0)
    private let failures = Atomic(0)

    func countRead(isHit: Bool) {
        reads.wrappingAdd(1, ordering: .relaxed)
        if isHit { hits.wrappingAdd(1, ordering: .relaxed) }
    }

    func countFetch(bytes: Int) {
        fetches.wrappingAdd(1, ordering: .relaxed)
        fetchedBytes.wrappingAdd(bytes, ordering: .relaxed)
    }

    /// Counts bytes of a request that is counted already.
    func countPassed(bytes: Int) {
        fetchedBytes.wrappingAdd(bytes, ordering: .relaxed)
    }

    func countFailure() {
        failures.wrappingAdd(1, ordering: .relaxed)
    }

    var statistics: CacheStatistics {
        CacheStatistics(
            reads: reads.load(ordering: .relaxed),
            hits: hits.load(ordering: .relaxed),
            fetches: fetches.load(ordering: .relaxed),
            fetchedBytes: fetchedBytes.load(ordering: .relaxed),
            failures: failures.load(ordering: .relaxed)
        )
    }
}
