// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import Synchronization

/// A server on loopback that answers every connection with what a test wants, and then closes it.
final class CannedServer: Sendable {
    /// An answer: bytes, with waits between them.
    struct Answer: Sendable {
        /// What is sent, piece by piece.
        var pieces: [[UInt8]]
        /// Milliseconds between two pieces.
        var pause: UInt32 = 0
        /// Whether the connection is reset in the end instead of closed.
        var isReset = false

        /// An answer in text.
        init(_ text: String) {
            pieces = [Array(text.utf8)]
        }

        /// A complete response.
        init(status: Int, headers: [String] = [], body: [UInt8] = []) {
            let lines = ["HTTP/1.1 \(status) -", "Content-Length: \(body.count)"] + headers
            pieces = [Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8), body]
        }
    }

    /// The port it listens on.
    let port: UInt16
    private let descriptor: Int32
    private let log = Mutex<[String]>([])
    private let answer: @Sendable (_ request: String, _ number: Int) -> Answer

    /// The heads of all requests so far.
    var requests: [String] { log.withLock { $0 } }

    init(_ answer: @escaping @Sendable (_ request: String, _ number: Int) -> Answer) throws {
        self.answer = answer
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let number = descriptor
        let code = unsafe withUnsafeMutableBytes(of: &address) { bytes in
            let pointer = unsafe bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
            guard let pointer = unsafe pointer else { return Int32(-1) }
            guard unsafe bind(number, pointer, size) == 0 else { return Int32(-1) }
            return unsafe getsockname(number, pointer, &size)
        }
        guard code == 0, listen(descriptor, 64) == 0 else {
            throw SystemError("listen", "127.0.0.1", code: errno)
        }
        port = UInt16(bigEndian: address.sin_port)
        try WorkerThread(name: "server") { [self] in serve() }.detach()
    }

    /// Ends it; connections that are being served go on.
    ///
    /// The thread that accepts closes the socket: closed here, its number could be another server's
    /// before that thread looks at it again, and this one would answer for that one.
    func stop() {
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
    }

    private func serve() {
        defer { _ = close(descriptor) }
        while true {
            let connection = accept(descriptor, nil, nil)
            guard connection >= 0 else { return }
            do {
                try WorkerThread(name: "connection") { [self] in
                    talk(connection)
                    _ = close(connection)
                }.detach()
            } catch {
                _ = close(connection)
            }
        }
    }

    private func talk(_ connection: Int32) {
        guard let request = head(connection) else { return }
        let number = log.withLock { log in
            log.append(request)
            return log.count
        }
        let answer = answer(request, number)
        for (index, piece) in answer.pieces.enumerated() {
            if index > 0, answer.pause > 0 { usleep(answer.pause * 1000) }
            var done = 0
            while done < piece.count {
                let count = unsafe piece.withUnsafeBytes { bytes in
                    let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
                    return unsafe send(
                        connection,
                        rest.baseAddress,
                        rest.count,
                        Int32(MSG_NOSIGNAL)
                    )
                }
                guard count > 0 else { return }
                done += count
            }
        }
        guard answer.isReset else { return }
        var option = linger(l_onoff: 1, l_linger: 0)
        _ = unsafe setsockopt(
            connection,
            SOL_SOCKET,
            SO_LINGER,
            &option,
            socklen_t(MemoryLayout<linger>.size)
        )
    }

    private func head(_ connection: Int32) -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard unsafe recv(connection, &byte, 1, 0) == 1 else { return nil }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
