// SPDX-License-Identifier: Apache-2.0

internal import Linux

/// Standard output for many short lines: written in large pieces.
final class OutputBuffer {
    private var text = ""
    private static let limit = 1 << 16

    /// Adds text, and writes what has gathered once it is much.
    func write(_ more: String) throws(SystemError) {
        text += more
        if text.utf8.count >= Self.limit { try flush() }
    }

    /// Writes what has gathered.
    func flush() throws(SystemError) {
        try StandardStream.output.write(text)
        text = ""
    }
}
