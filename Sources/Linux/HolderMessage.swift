// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// What a service and its holder of descriptors say to each other.
///
/// Each message is a packet:
///
///     byte 0       the protocol's version
///     byte 1       the kind
///     byte 2 ...   the name, at most 255 bytes of UTF-8; of a refusal the reason
///
/// A descriptor comes beside the packet where the kind wants one (unix(7), SCM_RIGHTS).
struct HolderMessage: Equatable {
    enum Kind: UInt8 {
        /// Keep the descriptor that comes along.
        case put = 1
        /// Send everything: an `item` each, and `done`.
        case list = 2
        /// Keep the name no more.
        case remove = 3
        /// The answer to what was done, and the end of a list.
        case done = 4
        /// One of a list, with its descriptor.
        case item = 5
        /// The answer to what was not done.
        case refused = 6
    }

    /// The holder may be years older than the service: both must know the version.
    static let version: UInt8 = 1
    static let sizeLimit = 2 + 255

    var kind: Kind
    var name = ""

    var bytes: [UInt8] { [Self.version, kind.rawValue] + name.utf8.prefix(255) }
}

extension HolderMessage {
    /// The message of a packet; nil if it is none of this version.
    init?(_ packet: some Collection<UInt8>) {
        let bytes = Array(packet)
        guard (2...Self.sizeLimit).contains(bytes.count), bytes[0] == Self.version,
            let kind = Kind(rawValue: bytes[1]),
            let name = String(validating: bytes[2...], as: UTF8.self)
        else { return nil }
        self.init(kind: kind, name: name)
    }
}

/// One end of a connection between a service and its holder.
final class HolderConnection: Sendable {
    private let socket: OwnedDescriptor

    /// How long the other side may take, in seconds: it is a process of this machine that does
    /// nothing else.
    private static let patience = 10

    /// Takes a connected socket over, if the same user is at the other end.
    ///
    /// - Throws: `SystemError`: EPERM if somebody else is.
    init(_ socket: consuming OwnedDescriptor) throws(SystemError) {
        var user = uid_t()
        let number = socket.number
        try retryingOnInterrupt("getsockopt", "holder") {
            unsafe clinux_peer_user(number, &user)
        }
        guard user == geteuid() else {
            throw SystemError("connect", "the holder, which user \(user) runs", code: EPERM)
        }
        var time = timeval(tv_sec: Self.patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            let size = socklen_t(MemoryLayout<timeval>.size)
            try retryingOnInterrupt("setsockopt", "holder") {
                unsafe setsockopt(number, SOL_SOCKET, option, &time, size)
            }
        }
        self.socket = socket
    }

    var number: Int32 { socket.number }

    func send(_ message: HolderMessage, _ descriptor: Int32 = -1) throws(SystemError) {
        let bytes = message.bytes
        try retryingOnInterrupt("sendmsg", "holder") {
            unsafe bytes.withUnsafeBytes {
                unsafe clinux_send_message(number, $0.baseAddress, $0.count, descriptor)
            }
        }
    }

    /// What came.
    struct Packet {
        /// nil if it is no message of this version.
        var message: HolderMessage?
        /// What came along, with the name in the message.
        var stored: StoredDescriptor?
        /// Whether a descriptor came along that this process has no room for.
        var lacksRoom = false
    }

    /// Waits for a packet.
    ///
    /// - Returns: it; nil if the other side has gone.
    func receive() throws(SystemError) -> Packet? {
        var bytes = [UInt8](repeating: 0, count: HolderMessage.sizeLimit + 1)
        var number: Int32 = -1
        var isTruncated: Int32 = 0
        let count = try retryingOnInterrupt("recvmsg", "holder") {
            unsafe bytes.withUnsafeMutableBytes {
                unsafe clinux_receive_message(
                    socket.number,
                    $0.baseAddress,
                    $0.count,
                    &number,
                    &isTruncated
                )
            }
        }
        // To be closed whatever else is wrong.
        let descriptor = number >= 0 ? OwnedDescriptor(owning: number) : nil
        guard count > 0 else { return nil }
        let message = isTruncated == 0 ? HolderMessage(bytes.prefix(count)) : nil
        guard let descriptor else {
            // The bytes are whole: it is the descriptor that was cut off.
            let lacksRoom = isTruncated != 0 && count <= HolderMessage.sizeLimit
            return Packet(message: message, lacksRoom: lacksRoom)
        }
        return Packet(message: message, stored: StoredDescriptor(message?.name ?? "", descriptor))
    }

    /// Ends the connection, for those who wait on it as well.
    func shutDown() {
        _ = shutdown(number, Int32(SHUT_RDWR))
    }
}
