// SPDX-License-Identifier: Apache-2.0

import Linux

/// Where the time of one layer's conversion went, in nanoseconds.
///
/// Reading, waiting and writing follow each other on the layer's own thread; the workers digest and
/// compress meanwhile, so that these two may be more than all of the others.
package struct LayerTimes: Sendable {
    /// Reading: fetching, decompressing and verifying the layer, its tar's entries.
    package var read: UInt64 = 0
    /// Waiting for workers.
    package var wait: UInt64 = 0
    /// Writing the blob, and what is spooled before.
    package var write: UInt64 = 0
    /// Digesting chunks, by all workers together.
    package var digest: UInt64 = 0
    /// Compressing chunks, by all workers together.
    package var compress: UInt64 = 0
}

/// Where the time of one image's conversion went, in nanoseconds: one stage after the other.
package struct ImageTimes: Sendable {
    /// All layers, several at a time.
    package var layers: UInt64 = 0
    /// Folding the layers into one tree.
    package var merge: UInt64 = 0
    /// Making and storing the bootstrap's layer.
    package var bootstrap: UInt64 = 0
    /// Copying the blobs of dictionaries, storing configuration and manifest.
    package var documents: UInt64 = 0
    /// Everything.
    package var total: UInt64 { layers &+ merge &+ bootstrap &+ documents }
}

/// Measures one stretch of time after the other.
struct Stopwatch {
    private var last = CurrentProcess.monotonicNanoseconds

    /// The nanoseconds since the last lap, or since the beginning.
    mutating func lap() -> UInt64 {
        let now = CurrentProcess.monotonicNanoseconds
        defer { last = now }
        return now &- last
    }
}
