// SPDX-License-Identifier: Apache-2.0

import Content
import Linux

/// What a bitmap file says it stands for: believed only if every byte agrees.
///
/// 4096 bytes, little-endian, zeros where nothing is said:
///
/// | offset | size | content |
/// |---|---|---|
/// | 0 | 8 | `LPBITS`, 0, version 1 |
/// | 8 | 16 | boot id; zeros in the durable bitmap, which outlives a boot |
/// | 24 | 8 | device of the backing file; zero in the durable bitmap: it may change at a boot |
/// | 32 | 8 | inode of the backing file |
/// | 40 | 8 | generation of that inode |
/// | 48 | 8 | number of chunks |
/// | 56 | 8 | size of the uncompressed view |
/// | 64 | 32 | the blob's digest |
/// | 96 | 32 | the key's digest |
///
/// The bits follow as 64-bit words: chunk i is bit i % 64 of word i / 64.
struct BitmapHeader: Equatable {
    static let byteCount = 4096

    var bootID: [UInt8]
    var device: UInt64
    var inode: UInt64
    var generation: UInt32
    var chunkCount: Int
    var viewSize: UInt64
    var blob: Digest
    var key: Digest

    /// The same, as the durable bitmap says it.
    var durable: BitmapHeader {
        var header = self
        header.bootID = [UInt8](repeating: 0, count: 16)
        header.device = 0
        return header
    }

    /// The header's bytes.
    var encoded: [UInt8] {
        var bytes = Array("LPBITS".utf8) + [0, 1]
        bytes += bootID.prefix(16)
        bytes.appendLittleEndian(device)
        bytes.appendLittleEndian(inode)
        bytes.appendLittleEndian(UInt64(generation))
        bytes.appendLittleEndian(UInt64(chunkCount))
        bytes.appendLittleEndian(viewSize)
        bytes += blob.bytes
        bytes += key.bytes
        bytes += repeatElement(0, count: Self.byteCount - bytes.count)
        return bytes
    }

    /// The number of words that the bits take.
    var wordCount: Int { (chunkCount + 63) / 64 }

    /// The size of a file with this header, in bytes.
    var fileSize: Int { Self.byteCount + wordCount * 8 }

    /// The words of a bitmap file; nil if it is not one with this header.
    func words(of file: [UInt8]) -> [UInt64]? {
        guard file.count == fileSize, file.prefix(Self.byteCount).elementsEqual(encoded) else {
            return nil
        }
        return (0..<wordCount).map { index in
            var word: UInt64 = 0
            for byte in 0..<8 {
                word |= UInt64(file[Self.byteCount + index * 8 + byte]) << UInt64(byte * 8)
            }
            return word
        }
    }

    /// A bitmap file with this header and the words.
    func file(words: [UInt64]) -> [UInt8] {
        var bytes = encoded
        for word in words { bytes.appendLittleEndian(word) }
        return bytes
    }
}
