// SPDX-License-Identifier: Apache-2.0

import CRE2

/// A regular expression as Go has them, matched in time linear in the text (RE2).
@safe
final class Pattern: @unchecked Sendable {
    // @unchecked: RE2 lets several threads match with one pattern.
    private let handle: OpaquePointer

    /// The memory that a compiled pattern may take, in bytes: `((a{100}){100}){100}` is none.
    private static let memoryLimit = 1 << 20

    /// Compiles a pattern.
    ///
    /// - Throws: `invalidArgument` with RE2's words.
    init(_ pattern: String) throws(RPCStatus) {
        var pattern = pattern
        var message = [CChar](repeating: 0, count: 200)
        let handle = pattern.withUTF8 { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { bytes in
                unsafe cre2_compile(
                    bytes.baseAddress,
                    bytes.count,
                    Self.memoryLimit,
                    &message,
                    message.count
                )
            }
        }
        guard let handle = unsafe handle else {
            let bytes = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw RPCStatus(.invalidArgument, String(decoding: bytes, as: UTF8.self))
        }
        unsafe self.handle = handle
    }

    deinit {
        unsafe cre2_free(handle)
    }

    /// Whether some part of the text matches.
    func matches(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { bytes in
                unsafe cre2_matches(handle, bytes.baseAddress, bytes.count) != 0
            }
        }
    }
}
