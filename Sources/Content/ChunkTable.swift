// SPDX-License-Identifier: Apache-2.0

/// The chunk records of one blob, by chunk index, and the checkpoints that they name.
package protocol ChunkTable: CheckpointTable {
    /// The number of chunks; indexes are 0..<count.
    var count: Int { get }

    /// The record of a chunk.
    ///
    /// Allocates nothing; may be called from several threads at once.
    ///
    /// - Parameter index: the chunk's index.
    /// - Returns: the record.
    /// - Throws: `ContentError` if the index or the stored record is out of bounds.
    func chunk(at index: Int) throws(ContentError) -> Chunk
}
