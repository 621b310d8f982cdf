// SPDX-License-Identifier: Apache-2.0

/// The header of a gzip member (RFC 1952 section 2.3), read byte by byte: it says nothing of the
/// content, and is verified all the same.
struct GzipHeader {
    /// What is wrong with a header.
    enum Fault {
        case magic
        case method(UInt8)
        case flags(UInt8)
        case checksum

        var text: String {
            switch self {
            case .magic: "no gzip magic number"
            case .method(let method): "gzip compression method \(method) is unknown"
            case .flags(let flags): "gzip header has unknown flags 0x\(String(flags, radix: 16))"
            case .checksum: "checksum of the gzip header is wrong"
            }
        }

        /// What it is if a whole member comes before it.
        var textBehindMember: String {
            if case .magic = self { "garbage after the last gzip member" } else { text }
        }
    }

    private enum Field {
        case magic
        case methodAndFlags
        /// Time, level and operating system.
        case origin
        case extraLength
        case extra
        case name
        case comment
        case checksum
        case end
    }

    private static let hasChecksum: UInt8 = 1 << 1
    private static let hasExtra: UInt8 = 1 << 2
    private static let hasName: UInt8 = 1 << 3
    private static let hasComment: UInt8 = 1 << 4
    private static let reserved: UInt8 = 0b1110_0000
    private static let deflate = 8

    private var field = Field.magic
    // Bytes of the field so far, and as a number, lowest byte first: its last four.
    private var count = 0
    private var number = 0
    private var flags: UInt8 = 0
    private var extraLength = 0
    private var sum = CRC32()

    /// Whether all of it has been taken.
    var isComplete: Bool { field == .end }

    /// Takes bytes up to the header's end.
    ///
    /// - Returns: how many bytes were taken, and what is wrong with them.
    mutating func take(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, fault: Fault?) {
        var consumed = 0
        while field != .end, consumed < bytes.count {
            let byte = unsafe bytes[consumed]
            consumed += 1
            if let fault = take(byte) { return (consumed, fault) }
        }
        return (consumed, nil)
    }

    private mutating func take(_ byte: UInt8) -> Fault? {
        if field != .checksum { sum.update(byte) }
        number |= Int(byte) << (8 * min(count, 3))
        count += 1
        switch field {
        case .magic where count == 2:
            guard number == 0x8b1f else { return .magic }
            begin(.methodAndFlags)
        case .methodAndFlags where count == 2:
            guard number & 0xFF == Self.deflate else { return .method(UInt8(number & 0xFF)) }
            guard byte & Self.reserved == 0 else { return .flags(byte) }
            flags = byte
            begin(.origin)
        case .origin where count == 6: begin(.extraLength)
        case .extraLength where count == 2:
            extraLength = number
            begin(.extra)
        case .extra where count == extraLength: begin(.name)
        case .name where byte == 0: begin(.comment)
        case .comment where byte == 0: begin(.checksum)
        case .checksum where count == 2:
            guard number == Int(sum.value & 0xFFFF) else { return .checksum }
            begin(.end)
        default: break
        }
        return nil
    }

    /// Goes to the field, or the first after it that is there.
    private mutating func begin(_ next: Field) {
        field = next
        count = 0
        number = 0
        switch next {
        case .extraLength where flags & Self.hasExtra == 0: begin(.name)
        case .extra where extraLength == 0: begin(.name)
        case .name where flags & Self.hasName == 0: begin(.comment)
        case .comment where flags & Self.hasComment == 0: begin(.checksum)
        case .checksum where flags & Self.hasChecksum == 0: begin(.end)
        default: break
        }
    }
}
