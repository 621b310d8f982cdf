// SPDX-License-Identifier: Apache-2.0

/// Where decompressing a span begins: a boundary between two blocks of a gzip layer.
///
/// What else is needed is the window: the content before the boundary, as far back as the span
/// repeats any of it.
package struct Checkpoint: Hashable, Sendable {
    /// How many bits of `byte` belong to the first block: 0 to 7, the highest ones; 0 if the block
    /// begins with the span's first byte.
    package var bitCount: Int
    /// The byte before the span's first; has no meaning where `bitCount` is 0.
    package var byte: UInt8

    /// The most content that a window has, in bytes (RFC 1951 section 2).
    package static let windowSize = 32 << 10

    /// A checkpoint with the values.
    package init(bitCount: Int, byte: UInt8) {
        self.bitCount = bitCount
        self.byte = byte
    }
}

/// The checkpoints of one blob.
package protocol CheckpointTable: Sendable {
    /// Calls the body with a checkpoint and its window.
    ///
    /// Allocates nothing; may be called from several threads at once.
    ///
    /// - Parameters:
    ///   - index: the checkpoint's index.
    ///   - body: gets the checkpoint and its window, which may be empty.
    /// - Throws: `ContentError` if there is no such checkpoint, or its record is wrong; what the
    ///   body throws.
    func withCheckpoint(
        _ index: UInt32,
        _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
    ) throws(ContentError)
}

extension CheckpointTable {
    /// What holds for blobs that are no gzip layers.
    package func withCheckpoint(
        _ index: UInt32,
        _ body: (Checkpoint, RawSpan) throws(ContentError) -> Void
    ) throws(ContentError) {
        throw .corrupt("checkpoint \(index): the blob has no checkpoints")
    }
}
