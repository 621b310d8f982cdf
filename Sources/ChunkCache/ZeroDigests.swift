// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux

/// The digests of zeros, by their number and by the function: each is computed once.
///
/// RAFS has no holes: a converter stores a run of zeros as chunks like any other. But the digest of
/// a chunk's record says what the chunk must read as, and whoever knows the digest of as many zeros
/// need not fetch it: the data would be refused if it were anything else.
final class ZeroDigests: Sendable {
    private struct Kind: Hashable {
        var byteCount: UInt32
        var digester: Digester
    }

    /// More are not kept: an image has few sizes of chunks but those of its files' ends.
    private static let limit = 256

    private let known = Monitor<[Kind: Digest]>([:])

    /// Whether a chunk is all zeros, as far as its record tells.
    ///
    /// For most chunks nothing is computed: what zeros compress to is short.
    ///
    /// - Parameters:
    ///   - chunk: its record, within bounds.
    ///   - coding: how it is stored and named.
    /// - Returns: false also if that could not be found out.
    func describe(_ chunk: Chunk, _ coding: ChunkCoding) -> Bool {
        guard Self.isPossible(chunk) else { return false }
        let kind = Kind(byteCount: chunk.uncompressedSize, digester: coding.digester)
        return digest(of: kind) == chunk.digest
    }

    /// Whether zeros could be stored like this, and a digest of so many is worth computing.
    private static func isPossible(_ chunk: Chunk) -> Bool {
        let size = chunk.uncompressedSize
        guard chunk.batch == nil, chunk.isCompressed else {
            // Full chunks, and ends too short to be compressed. Other ends have as many sizes as
            // there are files.
            return size % UInt32(Chunk.alignment) == 0 || size <= 64
        }
        // LZ4, which shrinks zeros the least, makes a byte of 255.
        return chunk.compressedSize <= size / 128 + 64
    }

    private func digest(of kind: Kind) -> Digest? {
        if let digest = known.update({ $0[kind] }) { return digest }
        // Pages of such memory that are only read are all the same page of zeros.
        guard let memory = try? AnonymousMemory(byteCount: Int(kind.byteCount)) else { return nil }
        let zeros = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(memory.bytes))
        let digest = kind.digester.digest(of: zeros)
        known.update { known in
            if known.count >= Self.limit { known = [:] }
            known[kind] = digest
        }
        return digest
    }
}
