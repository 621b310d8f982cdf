// SPDX-License-Identifier: Apache-2.0

/// One name in a directory: bytes, since Linux names need not be UTF-8.
package struct FileName: Hashable, Sendable {
    /// The longest name, in bytes (EROFS_NAME_LEN, NAME_MAX).
    package static let maximumByteCount = 255

    /// The bytes of the name.
    package var bytes: [UInt8]

    /// The name with the bytes, which are not checked: see `isValid`.
    package init(_ bytes: some Sequence<UInt8>) {
        self.bytes = Array(bytes)
    }

    /// The name with the text's UTF-8 bytes.
    package init(_ text: String) {
        bytes = Array(text.utf8)
    }

    /// Whether a file may bear this name: 1...255 bytes, no NUL and no slash, not "." or "..".
    package var isValid: Bool {
        switch bytes.count {
        case 1: bytes[0] != 0x2e && bytes[0] != 0x2f && bytes[0] != 0
        case 2 where bytes == [0x2e, 0x2e]: false
        case 2...Self.maximumByteCount: !bytes.contains { $0 == 0 || $0 == 0x2f }
        default: false
        }
    }
}

extension FileName: Comparable {
    /// Order by unsigned byte value, as EROFS directories are sorted.
    package static func < (left: FileName, right: FileName) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension FileName: CustomStringConvertible {
    /// The name for messages and dumps, on one line: see `escapedText(of:)`.
    package var description: String { escapedText(of: bytes) }
}

/// Bytes as printable ASCII on one line: everything else, blanks, commas and backslashes as `\xNN`.
package func escapedText(of bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".unicodeScalars)
    var text = ""
    for byte in bytes {
        if byte > 0x20, byte < 0x7f, byte != 0x5c, byte != 0x2c {
            text.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
            text += "\\x"
            text.unicodeScalars.append(digits[Int(byte >> 4)])
            text.unicodeScalars.append(digits[Int(byte & 0xf)])
        }
    }
    return text
}

/// The bytes that `escapedText(of:)` wrote; nil if the text is not in its form.
package func bytes(ofEscapedText text: some StringProtocol) -> [UInt8]? {
    var result: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
        guard byte == 0x5c else {
            guard byte > 0x20, byte < 0x7f else { return nil }
            result.append(byte)
            continue
        }
        guard rest.popFirst() == 0x78,
            let high = rest.popFirst().flatMap(Digest.value(ofHexDigit:)),
            let low = rest.popFirst().flatMap(Digest.value(ofHexDigit:))
        else { return nil }
        result.append(high << 4 | low)
    }
    return result
}
