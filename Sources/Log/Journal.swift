// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The journal's own protocol: one datagram an event, a field a line
/// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
enum Journal {
    /// Where journald listens.
    static let path = "/run/systemd/journal/socket"

    /// A socket connected with the journal; nil where there is none.
    static func connect(_ path: String) -> Int32? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let number = socket(
            AF_UNIX,
            Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
                | Int32(SOCK_NONBLOCK.rawValue),
            0
        )
        guard number >= 0 else { return nil }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(number, $0, size)
            }
        }
        guard result == 0 else {
            _ = close(number)
            return nil
        }
        return number
    }

    /// An event as fields: the whole of it as the message, and each value on its own.
    static func entry(_ level: LogLevel, _ message: String, _ fields: LogFields) -> [UInt8] {
        var bytes = Array("PRIORITY=\(level.rawValue)\nSYSLOG_IDENTIFIER=lazypull\nMESSAGE=".utf8)
        bytes += LogLine.event(message, fields)
        bytes.append(UInt8(ascii: "\n"))
        for (name, value) in fields {
            bytes += "LAZYPULL_".utf8
            bytes += name.utf8.map { byte in
                let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                return isLetter ? byte - 32 : byte == UInt8(ascii: "-") ? UInt8(ascii: "_") : byte
            }
            bytes.append(UInt8(ascii: "="))
            LogLine.appendEscaped(value.description, quoted: false, to: &bytes)
            bytes.append(UInt8(ascii: "\n"))
        }
        return bytes
    }
}
