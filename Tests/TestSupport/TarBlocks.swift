// SPDX-License-Identifier: Apache-2.0

/// Archives written field by field, as no writer of ours would.
package enum TarBlocks {
    /// A header block with a right checksum.
    ///
    /// - Parameters:
    ///   - name: the name field.
    ///   - type: the type flag.
    ///   - size: the size field's number.
    ///   - magic: 8 bytes of magic number and version; empty for the old format.
    ///   - change: changes the block before the checksum is made.
    /// - Returns: 512 bytes.
    package static func header(
        _ name: String,
        type: Character = "0",
        size: Int = 0,
        magic: String = "ustar\u{0}00",
        change: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        set(&block, 0, name)
        set(&block, 100, "0000644\u{0}")
        set(&block, 108, "0001750\u{0}")
        set(&block, 116, "0001751\u{0}")
        set(&block, 124, octal(size, 11))
        set(&block, 136, octal(1_700_000_000, 11))
        block[156] = type.asciiValue ?? 0
        set(&block, 257, magic)
        change(&block)
        return checksummed(block)
    }

    /// The block with the checksum its bytes give.
    package static func checksummed(_ header: [UInt8]) -> [UInt8] {
        var block = header
        set(&block, 148, "        ")
        let sum = block.reduce(0) { $0 + Int($1) }
        set(&block, 148, octal(sum, 6) + "\u{0} ")
        return block
    }

    /// Writes text into a block.
    package static func set(_ block: inout [UInt8], _ offset: Int, _ text: String) {
        for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
    }

    /// Content, padded to whole blocks.
    package static func padded(_ content: [UInt8]) -> [UInt8] {
        content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    /// An entry with content.
    package static func file(_ name: String, _ content: [UInt8]) -> [UInt8] {
        header(name, size: content.count) + padded(content)
    }

    /// One pax record with its length in front.
    package static func paxRecord(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let body = [UInt8(ascii: " ")] + Array("\(key)=".utf8) + value + [UInt8(ascii: "\n")]
        var length = body.count
        while String(length).utf8.count + body.count != length {
            length = String(length).utf8.count + body.count
        }
        return Array(String(length).utf8) + body
    }

    /// A pax header of the records.
    package static func pax(type: Character = "x", _ records: [(String, String)]) -> [UInt8] {
        let data = records.flatMap { paxRecord($0.0, Array($0.1.utf8)) }
        return header("PaxHeaders/x", type: type, size: data.count) + padded(data)
    }

    /// GNU's header of a long name ("L") or link ("K").
    package static func long(_ type: Character, _ text: String) -> [UInt8] {
        let data = Array(text.utf8) + [0]
        return header("././@LongLink", type: type, size: data.count, magic: "ustar  \u{0}")
            + padded(data)
    }

    /// The two blocks of zeros that end an archive.
    package static let end = [UInt8](repeating: 0, count: 1024)

    private static func octal(_ value: Int, _ width: Int) -> String {
        let digits = String(value, radix: 8)
        return String(repeating: "0", count: width - digits.count) + digits
    }
}
