// SPDX-License-Identifier: Apache-2.0

import Content
import TestSupport
import Testing

@Suite("Names and numbers")
struct NameAndNumberTests {
    @Test func escapedTextComesBackForEveryByte() {
        let all = (0...255).map { UInt8($0) }
        #expect(bytes(ofEscapedText: escapedText(of: all)) == all)
        for byte in all {
            let text = escapedText(of: [byte])
            #expect(bytes(ofEscapedText: text) == [byte])
            // One line of printable ASCII in which blanks and commas can part things.
            #expect(text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x2c })
        }
        #expect(escapedText(of: Array("a b\\c,d\u{e9}~".utf8)) == "a\\x20b\\x5cc\\x2cd\\xc3\\xa9~")
        #expect(escapedText(of: []) == "")
    }

    @Test(arguments: [
        "\\", "\\x", "\\x4", "\\y41", "\\x4g", "a b", "é", "\u{7f}", "\\x-1", "\\x+1", "\\xFF",
    ])
    func whatEscapingNeverWritesIsRefused(_ text: String) {
        #expect(bytes(ofEscapedText: text) == nil)
    }

    @Test func fileNamesAreWhatTheKernelTakes() {
        for text in ["a", "-", "...", ".a", "a.", "..a", "\u{1}", " ", "é"] {
            #expect(FileName(text).isValid, "\(text)")
        }
        for text in ["", ".", "..", "/", "a/b", "/a", "a/", "\u{0}", "a\u{0}b"] {
            #expect(!FileName(text).isValid, "\(text)")
        }
        #expect(FileName([0xff]).isValid)
        #expect(FileName(repeatElement(0x61, count: 255)).isValid)
        #expect(!FileName(repeatElement(0x61, count: 256)).isValid)
    }

    @Test func fileNamesSortByUnsignedBytes() {
        let sorted = ["", "!", "-", ".", "..", "a", "a\u{1}", "aa", "b", "é"].map { FileName($0) }
        #expect(sorted.shuffled().sorted() == sorted)
        #expect(FileName([0x7f]) < FileName([0x80]))
    }

    @Test(
        arguments: [
            (0, 0, 0), (1, 3, 0x103), (8, 1, 0x801), (0, 255, 0xff), (0, 256, 0x10_0000),
            (4095, 1_048_575, 0xffff_ffff), (259, 65536, 0x1001_0300),
        ] as [(UInt32, UInt32, UInt32)]
    )
    func deviceNumbersAreEncodedAsTheKernelDoes(_ major: UInt32, _ minor: UInt32, _ code: UInt32) {
        let device = DeviceNumber(major: major, minor: minor)
        #expect(device.encoded == code)
        #expect(DeviceNumber(encoded: code) == device)
    }

    @Test func deviceNumbersThatDoNotFitHaveNoCode() {
        #expect(DeviceNumber(major: 4096, minor: 0).encoded == nil)
        #expect(DeviceNumber(major: 0, minor: 1 << 20).encoded == nil)
        #expect(DeviceNumber(major: .max, minor: .max).encoded == nil)
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<200 {
            let code = UInt32.random(in: .min ... .max, using: &generator)
            #expect(DeviceNumber(encoded: code).encoded == code)
        }
    }

    @Test func modesNameTheirTypes() {
        for type in FileType.allCases {
            #expect(FileType(mode: type.modeBits | 0o7777) == type)
        }
        for bits in [
            0, 0o030_000, 0o050_000, 0o070_000, 0o110_000, 0o130_000, 0o150_000, 0o170_000,
        ] {
            #expect(FileType(mode: UInt16(bits) | 0o644) == nil)
        }
        #expect(FileType.allCases.filter(\.isDevice) == [.characterDevice, .blockDevice])
    }

    @Test func integersAreReadAtEveryOffset() throws {
        var generator = SeededGenerator(seed: 3)
        let bytes = generator.bytes(40)
        for offset in -2...42 {
            try expect(UInt8.self, bytes, offset)
            try expect(UInt16.self, bytes, offset)
            try expect(UInt32.self, bytes, offset)
            try expect(UInt64.self, bytes, offset)
        }
        #expect(throws: ContentError.self) { try bytes.rawSpan.littleEndian(UInt8.self, at: .max) }
        #expect(throws: ContentError.self) { try bytes.rawSpan.littleEndian(UInt64.self, at: .min) }
        let error = #expect(throws: ContentError.self) {
            try bytes.rawSpan.littleEndian(UInt32.self, at: 37)
        }
        #expect(error?.kind == .truncated)
        #expect(error?.message == "needs 4 bytes at offset 37, has 40 in all")
    }

    private func expect<T: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(
        _ type: T.Type,
        _ bytes: [UInt8],
        _ offset: Int
    ) throws {
        guard offset >= 0, offset + T.bitWidth / 8 <= bytes.count else {
            #expect(throws: ContentError.self) { try bytes.rawSpan.littleEndian(type, at: offset) }
            return
        }
        let value = try bytes.rawSpan.littleEndian(type, at: offset)
        var appended: [UInt8] = []
        appended.appendLittleEndian(value)
        #expect(appended == Array(bytes[offset..<offset + T.bitWidth / 8]))
        var stored = [UInt8](repeating: 0, count: bytes.count)
        stored.storeLittleEndian(value, at: offset)
        #expect(try stored.rawSpan.littleEndian(type, at: offset) == value)
    }

    @Test func slicesStayInTheirBounds() throws {
        let bytes = (0..<10).map { UInt8($0) }
        for offset in -1...11 {
            for count in -1...11 {
                let fits = offset >= 0 && count >= 0 && offset + count <= 10
                if fits {
                    let part = try bytes.rawSpan.bytes(at: offset, count: count)
                    #expect(part == Array(bytes[offset..<offset + count]))
                } else {
                    #expect(throws: ContentError.self) {
                        try bytes.rawSpan.bytes(at: offset, count: count)
                    }
                }
            }
        }
        #expect(throws: ContentError.self) { try bytes.rawSpan.bytes(at: 1, count: .max) }
        #expect(throws: ContentError.self) { try bytes.rawSpan.bytes(at: .max, count: 1) }
        let hasPrefix = [[0, 1], [1], bytes + [10]].map { bytes.rawSpan.hasPrefix($0) }
        #expect(hasPrefix == [true, false, false])
        let zeros = [bytes, [0, 0, 0], []].map { $0.rawSpan.leadingZeroByteCount }
        #expect(zeros == [1, 3, 0])
    }

    @Test func roundsUpToPowersOfTwo() {
        for value in 0..<40 {
            #expect(value.roundedUp(toMultipleOf: 8) == (value + 7) / 8 * 8)
            var bytes = [UInt8](repeating: 1, count: value)
            bytes.padWithZeros(toMultipleOf: 16)
            #expect(bytes.count == (value + 15) / 16 * 16)
            #expect(bytes.filter { $0 == 1 }.count == value)
        }
    }

    @Test func errorsNameWhatTheyHappenedOn() {
        let error = ContentError.corrupt("magic is wrong").at("layer x").at("image y")
        #expect(error.kind == .corrupt)
        #expect("\(error)" == "image y: layer x: magic is wrong")
    }
}
