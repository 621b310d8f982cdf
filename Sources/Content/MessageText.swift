// SPDX-License-Identifier: Apache-2.0

/// The most bytes of a message; what is longer loses its middle.
private let messageByteLimit = 4096

/// A text as a message can carry it: on one line, harmless to a terminal, and bounded.
///
/// Names, paths and fields of documents get into messages, and an image is hostile input: a newline
/// in it must not make a second line, an escape sequence must not reach the terminal, and a path of
/// a megabyte must not fill the log. Control characters, and those that end lines or turn the
/// direction of writing, become `\u{…}`. Of a text beyond 4096 bytes both ends stay, which say where
/// and why, with ` [...] ` between them. What the function returned it leaves as it is, if that
/// has room.
package func messageText(_ text: String) -> String {
    guard text.utf8.count > messageByteLimit || text.unicodeScalars.contains(where: isHarmful)
    else { return text }
    var result = ""
    for scalar in shortened(text).unicodeScalars {
        if isHarmful(scalar) {
            result += "\\u{\(String(scalar.value, radix: 16))}"
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    // Escapes make it longer, but hold nothing that needs another.
    return shortened(result)
}

private func shortened(_ text: String) -> String {
    let mark = " [...] "
    let bytes = text.utf8
    guard bytes.count > messageByteLimit else { return text }
    let half = (messageByteLimit - mark.utf8.count) / 2
    // No scalar is cut: its later bytes begin with the bits 10.
    let head = bytes.prefix(half + 1)
    let end = head.lastIndex { $0 & 0xc0 != 0x80 } ?? bytes.startIndex
    let tail = bytes.suffix(half).drop { $0 & 0xc0 == 0x80 }
    return String(decoding: bytes[..<end], as: UTF8.self) + mark
        + String(decoding: tail, as: UTF8.self)
}

private func isHarmful(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7f...0x9f, 0x2028...0x202e, 0x2066...0x2069: true
    default: false
    }
}
