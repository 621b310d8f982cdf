// SPDX-License-Identifier: Apache-2.0

import Content

/// What is asked of a server.
package struct HTTPRequest: Sendable, CustomStringConvertible {
    /// What is to be done.
    package enum Method: String, Sendable {
        case get = "GET"
        case head = "HEAD"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"

        /// Whether the request changes nothing, and may be sent again anywhere.
        var isSafe: Bool { self == .get || self == .head }
    }

    /// What is to be done.
    package var method: Method
    /// With what.
    package var url: URL
    /// More headers; none with a secret: that is `authorization`.
    package var headers: [HTTPHeader]
    /// The value of the Authorization header, never shown, never sent elsewhere; nil for none.
    package var authorization: String?
    /// Headers that an administrator set for this host alone, secrets perhaps.
    package var hostHeaders: [HTTPHeader] = []
    /// The bytes sent along.
    package var body: HTTPBody?
    /// The bytes asked for, of all there are; nil for all.
    package var range: ClosedRange<UInt64>?
    /// The unix socket that is connected to instead of the address's host; nil for none.
    package var unixSocket: String?
    /// Whom to trust, and as whom to come.
    package var tls = TLSSettings()
    /// How long the other side may be silent, in seconds.
    package var stallSeconds = 30
    /// When it is too late for an answer, on the monotonic clock, in nanoseconds; nil for never.
    package var deadline: UInt64?

    /// A request.
    package init(_ method: Method, _ url: URL, headers: [HTTPHeader] = []) {
        self.method = method
        self.url = url
        self.headers = headers
    }

    /// Method and address, without what may be secret.
    package var description: String { "\(method.rawValue) \(url)" }
}

/// How to speak TLS with a host.
package struct TLSSettings: Sendable, Hashable {
    /// Certificates of authorities that are trusted beside the system's, in PEM.
    package var authorities: [UInt8] = []
    /// The path of our own certificate in PEM; nil for none.
    package var clientCertificate: String?
    /// The path of its key; nil if it is in the same file.
    package var clientKey: String?
    /// Whether the other side's certificate is looked at.
    package var isVerified = true

    /// The usual: the system's authorities, no certificate of our own.
    package init() {}
}

/// The bytes a request sends, at a place of their own until it is answered.
@safe
package final class HTTPBody: @unchecked Sendable {
    // @unchecked: not changed while a request has it.
    private let memory: UnsafeMutableRawBufferPointer
    /// How many bytes there are.
    package private(set) var count = 0

    /// A body that holds nothing yet.
    ///
    /// - Parameter capacity: how many bytes it can take, at least 1.
    package init(capacity: Int) {
        unsafe memory = .allocate(byteCount: max(capacity, 1), alignment: 16)
    }

    /// A body with the bytes.
    package convenience init(_ bytes: [UInt8]) {
        self.init(capacity: bytes.count)
        append(bytes.rawSpan)
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// How many more bytes it can take.
    package var room: Int { unsafe memory.count - count }

    /// Takes bytes; the caller knows that there is room.
    ///
    /// - Parameter bytes: those beyond the room are left out.
    package func append(_ bytes: RawSpan) {
        let taken = min(bytes.byteCount, room)
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory[count...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<taken]))
        }
        count += taken
    }

    /// The bytes after some; itself if these are none.
    ///
    /// - Parameter skipped: how many are left out, at most all.
    /// - Returns: a body with the rest.
    package func dropFirst(_ skipped: Int) -> HTTPBody {
        guard skipped > 0 else { return self }
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[min(skipped, count)...])
        let body = HTTPBody(capacity: rest.count)
        unsafe body.append(RawSpan(_unsafeBytes: rest))
        return body
    }

    /// Takes everything out again.
    package func removeAll() { count = 0 }

    var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(rebasing: memory[..<count]) }
}
