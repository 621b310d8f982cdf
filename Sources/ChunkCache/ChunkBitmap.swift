// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// One bit per chunk: present and verified in the backing file.
///
/// The runtime bits: they live in a mapping, of a file that survives the process or, where there
/// is no place for one, of plain memory. Setting a bit publishes the write it stands for to every
/// thread that sees the bit.
@safe
struct ChunkBitmap: ~Copyable, @unchecked Sendable {
    // @unchecked: words are touched only as atomics.
    private let mapping: SharedMapping
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    let chunkCount: Int
    private var wordCount: Int { (chunkCount + 63) / 64 }

    /// Bits in a mapping of a bitmap file.
    ///
    /// - Parameters:
    ///   - mapping: header and words; as long as the header's `fileSize`.
    ///   - chunkCount: the number of bits.
    init(_ mapping: consuming SharedMapping, chunkCount: Int) {
        let count = (chunkCount + 63) / 64
        let start = unsafe mapping.bytes.baseAddress?.advanced(by: BitmapHeader.byteCount)
        guard let start = unsafe start,
            unsafe mapping.bytes.count >= BitmapHeader.byteCount + count * 8
        else { preconditionFailure("the mapping was made for this number of chunks") }
        // Atomic<UInt64> is laid out as UInt64, and the header keeps it aligned.
        unsafe words = start.bindMemory(to: Atomic<UInt64>.self, capacity: count)
        self.mapping = mapping
        self.chunkCount = chunkCount
    }

    /// Whether the chunk is present.
    func isSet(_ index: Int) -> Bool {
        guard index >= 0, index < chunkCount else { return false }
        let word = unsafe words[index / 64].load(ordering: .acquiring)
        return word & bit(index) != 0
    }

    /// Marks a chunk as present, whose bytes have been written.
    func set(_ index: Int) {
        guard index >= 0, index < chunkCount else { return }
        unsafe words[index / 64].bitwiseOr(bit(index), ordering: .releasing)
    }

    /// Marks a chunk as absent.
    func clear(_ index: Int) {
        guard index >= 0, index < chunkCount else { return }
        unsafe words[index / 64].bitwiseAnd(~bit(index), ordering: .releasing)
    }

    /// Keeps only the bits that the words have as well.
    func keep(_ kept: [UInt64]) {
        for index in 0..<min(wordCount, kept.count) {
            unsafe words[index].bitwiseAnd(kept[index], ordering: .releasing)
        }
    }

    /// The words as they are now; a bit that is set stands for bytes that were written before.
    func snapshot() -> [UInt64] {
        (0..<wordCount).map { unsafe words[$0].load(ordering: .acquiring) }
    }

    private func bit(_ index: Int) -> UInt64 { 1 << UInt64(index % 64) }
}
