// SPDX-License-Identifier: Apache-2.0

import CChecksum
import TestSupport
import Testing

@Suite("Checksum")
struct ChecksumTests {
    private func value(_ bytes: ArraySlice<UInt8>, after checksum: UInt32 = 0) -> [UInt32] {
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe [
                cchecksum_crc32(checksum, bytes.baseAddress, bytes.count),
                cchecksum_crc32_portable(checksum, bytes.baseAddress, bytes.count),
            ]
        }
    }

    @Test func isThatOfTheSpecification() {
        #expect(value(Array("123456789".utf8)[...]) == [0xCBF4_3926, 0xCBF4_3926])
        #expect(value([]) == [0, 0])
        #expect(value([], after: 77) == [77, 77])
    }

    /// Every length around what the vector loops take at once, at every alignment.
    @Test func isZlibsByWhateverInstructions() {
        var generator = SeededGenerator(seed: 3)
        let bytes = generator.bytes(700)
        for count in Array(0...340) + [511, 512, 513, 600] {
            let start = count % 17
            let part = bytes[start..<start + count]
            let before = UInt32(truncatingIfNeeded: generator.next())
            let expected = Zlib.checksum(Array(part), after: before)
            #expect(value(part, after: before) == [expected, expected], "\(count) bytes")
        }
    }

    @Test func goesOnAnywhere() {
        var generator = SeededGenerator(seed: 4)
        let bytes = generator.bytes(300)
        let whole = Zlib.checksum(bytes)
        for split in 0...bytes.count {
            let first = value(bytes[..<split])
            #expect(value(bytes[split...], after: first[0]) == [whole, whole])
        }
    }
}
