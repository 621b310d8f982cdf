// SPDX-License-Identifier: Apache-2.0
//
// Linux: everything that talks to the kernel or libc, once.

import CLinux
import Glibc

/// A system call that failed: which, on what, and the kernel's reason.
package struct SystemError: Error, Sendable, CustomStringConvertible {
    /// The call's name, as in its manual page.
    package var call: String
    /// What it was called on: a path, or words.
    package var object: String
    /// The errno it left.
    package var code: Int32

    /// The failure of a call on an object with an errno.
    package init(_ call: String, _ object: String, code: Int32) {
        self.call = call
        self.object = object
        self.code = code
    }

    /// Whether something ran out that others may give back: worth another try a moment later.
    package var isShortage: Bool {
        [EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN].contains(code)
    }

    package var description: String {
        "\(call) \(object): \(Self.text(of: code))"
    }

    /// A library that found no memory.
    package static func noMemory(_ call: String, _ object: String) -> SystemError {
        SystemError(call, object, code: ENOMEM)
    }

    /// The kernel's reason in words, as strerror(3) gives it.
    package static func text(of code: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        // The XSI variant fills the buffer with a terminated text; on failure it stays empty.
        _ = unsafe clinux_strerror(code, &buffer, buffer.count)
        let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return bytes.isEmpty ? "error \(code)" : String(decoding: bytes, as: UTF8.self)
    }
}

/// Makes a system call again while a signal interrupts it, and turns -1 into an error.
///
/// Nothing runs between the call and the reading of errno.
///
/// - Parameters:
///   - name: the call's name, for the error.
///   - object: what it is called on, for the error; evaluated only on failure.
///   - body: the call.
/// - Returns: what the call returned, never -1.
/// - Throws: `SystemError` with the errno.
@discardableResult
package func retryingOnInterrupt<T: SignedInteger>(
    _ name: String,
    _ object: @autoclosure () -> String,
    _ body: () -> T
) throws(SystemError) -> T {
    while true {
        let result = body()
        guard result == -1 else { return result }
        let code = errno
        guard code == EINTR else { throw SystemError(name, object(), code: code) }
    }
}
