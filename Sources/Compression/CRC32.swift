// SPDX-License-Identifier: Apache-2.0

import CChecksum

/// The checksum of gzip (RFC 1952 section 8).
struct CRC32: Equatable {
    /// The checksum of the bytes so far.
    private(set) var value: UInt32

    /// The checksum of no bytes, or of those that gave that value.
    init(_ value: UInt32 = 0) {
        self.value = value
    }

    /// Goes on with more bytes.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        value = unsafe cchecksum_crc32(value, bytes.baseAddress, bytes.count)
    }

    /// Goes on with one more byte.
    mutating func update(_ byte: UInt8) {
        var byte = byte
        unsafe withUnsafeBytes(of: &byte) { unsafe update($0) }
    }
}
