// SPDX-License-Identifier: Apache-2.0

/// A 32-byte digest: SHA-256 wherever OCI names content, and of chunks by the image's own choice.
package struct Digest: Hashable, Sendable {
    /// The length of a digest, in bytes.
    package static let byteCount = 32

    // Four words instead of an array: no allocation, and Hashable comes for free.
    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// The digest whose bytes are all zero: "unknown" in RAFS tables.
    package static let zero = Digest(words: (0, 0, 0, 0))

    private init(words: (UInt64, UInt64, UInt64, UInt64)) {
        self.words = words
    }

    /// The digest stored at the offset.
    ///
    /// - Parameters:
    ///   - bytes: where to read.
    ///   - offset: the offset of its first byte in `bytes`.
    /// - Throws: `ContentError` if fewer than 32 bytes are left at the offset.
    package init(_ bytes: RawSpan, at offset: Int = 0) throws(ContentError) {
        words = (
            try bytes.littleEndian(UInt64.self, at: offset),
            try bytes.littleEndian(UInt64.self, at: offset + 8),
            try bytes.littleEndian(UInt64.self, at: offset + 16),
            try bytes.littleEndian(UInt64.self, at: offset + 24)
        )
    }

    /// The digest with the 32 bytes; nil if there are not exactly 32.
    package init?(bytes: some Sequence<UInt8>) {
        var count = 0
        var words: [4 of UInt64] = .init(repeating: 0)
        for byte in bytes {
            guard count < Self.byteCount else { return nil }
            words[count / 8] |= UInt64(byte) << UInt64(count % 8 * 8)
            count += 1
        }
        guard count == Self.byteCount else { return nil }
        self.words = (words[0], words[1], words[2], words[3])
    }

    /// The digest with the 64 lower-case hexadecimal digits; nil if the text is anything else.
    package init?(hex: String) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        var high: UInt8?
        for character in hex.utf8 {
            guard let digit = Self.value(ofHexDigit: character) else { return nil }
            if let first = high {
                bytes.append(first << 4 | digit)
                high = nil
            } else {
                high = digit
            }
        }
        guard high == nil else { return nil }
        self.init(bytes: bytes)
    }

    /// The digest in OCI's form, `sha256:` and 64 hexadecimal digits; nil for anything else.
    package init?(oci text: String) {
        guard text.hasPrefix("sha256:") else { return nil }
        self.init(hex: String(text.dropFirst(7)))
    }

    /// The 32 bytes.
    package var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(Self.byteCount)
        for word in [words.0, words.1, words.2, words.3] {
            result.appendLittleEndian(word)
        }
        return result
    }

    /// 64 lower-case hexadecimal digits.
    package var hex: String {
        var text = ""
        text.reserveCapacity(64)
        for byte in bytes {
            text.unicodeScalars.append(Self.hexDigit(byte >> 4))
            text.unicodeScalars.append(Self.hexDigit(byte & 0xf))
        }
        return text
    }

    /// The digest in OCI's form: `sha256:` and 64 hexadecimal digits.
    package var oci: String { "sha256:\(hex)" }

    package static func == (left: Digest, right: Digest) -> Bool {
        left.words == right.words
    }

    package func hash(into hasher: inout Hasher) {
        // A digest is already uniform; one word is enough to spread a table, equality is exact.
        hasher.combine(words.0)
    }

    private static func hexDigit(_ value: UInt8) -> Unicode.Scalar {
        Unicode.Scalar(value < 10 ? 0x30 + value : 0x61 + value - 10)
    }

    /// The value of a lower-case hexadecimal digit.
    static func value(ofHexDigit character: UInt8) -> UInt8? {
        switch character {
        case 0x30...0x39: character - 0x30
        case 0x61...0x66: character - 0x61 + 10
        default: nil
        }
    }
}

extension Digest: CustomStringConvertible {
    package var description: String { oci }
}

extension Digest: Comparable {
    /// Order by the unsigned value of the bytes, first byte first.
    package static func < (left: Digest, right: Digest) -> Bool {
        (
            left.words.0.byteSwapped, left.words.1.byteSwapped, left.words.2.byteSwapped,
            left.words.3.byteSwapped
        ) < (
            right.words.0.byteSwapped, right.words.1.byteSwapped, right.words.2.byteSwapped,
            right.words.3.byteSwapped
        )
    }
}
