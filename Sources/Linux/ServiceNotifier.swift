// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// What a service tells the service manager that started it (sd_notify(3)).
package enum ServiceNotifier {
    /// The service answers.
    package static let ready = "READY=1"
    /// The service is about to end.
    package static let stopping = "STOPPING=1"

    /// How long the manager may take to read what it was sent, in milliseconds.
    private static let patience: Int32 = 5_000

    /// Whether a service manager waits for messages of this process.
    package static var isManaged: Bool {
        CurrentProcess.environment("NOTIFY_SOCKET")?.isEmpty == false
    }

    /// Sends a message; nothing happens where no service manager waits for any.
    ///
    /// - Parameter message: assignments, a line each.
    package static func send(_ message: String) {
        try? send(message, -1)
    }

    /// Sends a message with a descriptor.
    ///
    /// - Parameters:
    ///   - message: assignments, a line each.
    ///   - descriptor: what the manager gets a copy of; -1 for nothing.
    /// - Throws: `SystemError`: ENOENT where no service manager waits for any.
    static func send(_ message: String, _ descriptor: Int32) throws(SystemError) {
        guard let path = CurrentProcess.environment("NOTIFY_SOCKET"), !path.isEmpty else {
            throw SystemError("connect", "the service manager", code: ENOENT)
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemError("connect", path, code: ENAMETOOLONG)
        }
        // A name in the abstract name space begins with a zero byte.
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let type = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let socket = OwnedDescriptor(
            owning: try retryingOnInterrupt("socket", "unix") { Glibc.socket(AF_UNIX, type, 0) }
        )
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        let size = socklen_t(offset + bytes.count)
        try retryingOnInterrupt("connect", path) {
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(socket.number, $0, size)
                }
            }
        }
        let text = Array(message.utf8)
        try retryingOnInterrupt("sendmsg", path) {
            unsafe clinux_send_message(socket.number, text, text.count, descriptor)
        }
    }

    /// Waits until the manager has read everything that was sent before (BARRIER, systemd 246).
    ///
    /// - Throws: `SystemError`: ETIMEDOUT if it does not.
    static func waitUntilProcessed() throws(SystemError) {
        var pipe = try HangupPipe()
        try send("BARRIER=1", pipe.writingEnd)
        pipe.closeWritingEnd()
        guard try pipe.hasEnded(within: patience) else {
            throw SystemError("wait", "the service manager", code: ETIMEDOUT)
        }
    }
}

/// A pipe that tells when nobody has its writing end any more.
struct HangupPipe: ~Copyable {
    private let reader: OwnedDescriptor
    private var writer: OwnedDescriptor?
    /// The writing end, until it is closed.
    let writingEnd: Int32

    init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try retryingOnInterrupt("pipe2", "") { unsafe clinux_pipe(&ends) }
        reader = OwnedDescriptor(owning: ends[0])
        writer = OwnedDescriptor(owning: ends[1])
        writingEnd = ends[1]
    }

    /// Closes the writing end here; who was given it may still have it.
    mutating func closeWritingEnd() {
        writer = nil
    }

    /// Whether nobody has the writing end.
    ///
    /// - Parameter milliseconds: how long to wait for it.
    /// - Returns: whether nobody has it by then.
    /// - Throws: `SystemError`.
    func hasEnded(within milliseconds: Int32) throws(SystemError) -> Bool {
        try waitForInput(on: [reader.number], milliseconds: milliseconds) != nil
    }
}
