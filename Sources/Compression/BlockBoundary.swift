// SPDX-License-Identifier: Apache-2.0

package import Content

/// A place between two blocks of a gzip file, where decoding can begin if the 32 KiB of content
/// before it are at hand.
package struct BlockBoundary: Hashable, Sendable {
    /// What the member's trailer is compared with, for the content up to here.
    package struct Member: Hashable, Sendable {
        /// The CRC-32.
        package var checksum: UInt32
        /// The number of bytes modulo 2^32.
        package var size: UInt32

        /// The state of a member.
        package init(checksum: UInt32, size: UInt32) {
            self.checksum = checksum
            self.size = size
        }
    }

    /// The byte of the file that holds the block's first bit.
    package var compressedByte: CompressedOffset
    /// How many bits of that byte belong to the block before: 0 to 7, the lowest ones.
    package var skippedBits: Int
    /// The content that comes before the block, in bytes.
    package var uncompressedOffset: UncompressedOffset
    /// The member's state; nil if it is not known, and the member's trailer is not verified.
    package var member: Member?

    /// A boundary at that place.
    ///
    /// - Parameters:
    ///   - compressedByte: the byte that holds the block's first bit.
    ///   - skippedBits: the bits of that byte before the block, 0 to 7.
    ///   - uncompressedOffset: the content before the block.
    ///   - member: the member's state, if it is known.
    package init(
        compressedByte: CompressedOffset,
        skippedBits: Int,
        uncompressedOffset: UncompressedOffset,
        member: Member?
    ) {
        self.compressedByte = compressedByte
        self.skippedBits = skippedBits
        self.uncompressedOffset = uncompressedOffset
        self.member = member
    }
}

extension BlockBoundary {
    /// The first byte of the file that a span needs which begins here: all of its bits are the
    /// block's.
    package var spanOffset: CompressedOffset {
        CompressedOffset(compressedByte.bytes &+ (skippedBits == 0 ? 0 : 1))
    }

    /// How many bits of the byte before that belong to the block.
    package var bitCount: Int { (8 - skippedBits) & 7 }
}
