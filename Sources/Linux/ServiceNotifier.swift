// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// What a service tells the service manager that started it (sd_notify(3)).
package enum ServiceNotifier {
    /// The service answers.
    package static let ready = "READY=1"
    /// The service is about to end.
    package static let stopping = "STOPPING=1"

    /// Sends a message; nothing happens where no service manager waits for any.
    ///
    /// - Parameter message: assignments, a line each.
    package static func send(_ message: String) {
        guard let path = CurrentProcess.environment("NOTIFY_SOCKET"), !path.isEmpty else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        // A name in the abstract name space begins with a zero byte.
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let type = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(AF_UNIX, type, 0)
        guard number >= 0 else { return }
        let socket = OwnedDescriptor(owning: number)
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        let size = socklen_t(offset + bytes.count)
        let text = Array(message.utf8)
        _ = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe sendto(
                    socket.number,
                    text,
                    text.count,
                    Int32(MSG_NOSIGNAL),
                    $0,
                    size
                )
            }
        }
    }
}
