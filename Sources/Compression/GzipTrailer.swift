// SPDX-License-Identifier: Apache-2.0

/// What the end of a gzip member says of its content (RFC 1952 section 2.3.1), or what the content
/// is so far.
struct GzipTrailer {
    /// The trailer's size in bytes.
    static let size = 8

    /// The CRC-32 of the content.
    var checksum: CRC32
    /// Its number of bytes, modulo 2^32.
    var size: UInt32

    /// That of no content, or of what a decoder knows already.
    init(checksum: CRC32 = CRC32(), size: UInt32 = 0) {
        self.checksum = checksum
        self.size = size
    }

    /// Goes on with more content.
    mutating func append(_ content: UnsafeRawBufferPointer) {
        unsafe checksum.update(content)
        size &+= UInt32(truncatingIfNeeded: content.count)
    }

    /// What is wrong with a member whose content this is.
    ///
    /// - Parameters:
    ///   - stated: the checksum that the member states.
    ///   - statedSize: the size that it states; nil if it is cut off before.
    /// - Returns: the fault for people, or nil.
    func fault(checksum stated: UInt32, size statedSize: UInt32?) -> String? {
        guard stated == checksum.value else {
            return "gzip checksum is \(hex(stated)), that of the content \(hex(checksum.value))"
        }
        guard statedSize == nil || statedSize == size else {
            return "gzip member is to hold \(statedSize ?? 0) bytes modulo 2^32, holds \(size)"
        }
        return nil
    }

    private func hex(_ value: UInt32) -> String { "0x\(String(value, radix: 16))" }
}
