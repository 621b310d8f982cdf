// SPDX-License-Identifier: Apache-2.0

import Linux

/// What came of a request for a range.
package struct RangeAnswer: HTTPAnswer, Sendable {
    /// Status and headers; status 0 if none came.
    package var head: HTTPHead
    /// How many bytes were put into the buffer, from its start: right ones, even after an error.
    package var received: Int
    /// The body of a response that is no range.
    package var otherBody: [UInt8]
    /// Why the buffer is not full; nil if it is, or the response is no range.
    package var error: HTTPError?

    package func errorBody() -> [UInt8] { otherBody }
}

extension HTTPClient {
    /// Fetches the bytes of `request.range` and waits for them.
    ///
    /// - Parameters:
    ///   - request: with a range of as many bytes as the buffer.
    ///   - buffer: filled from its start.
    /// - Returns: what came of it.
    package func fetch(
        _ request: HTTPRequest,
        into buffer: UnsafeMutableRawBufferPointer
    ) -> RangeAnswer {
        let receiver = unsafe RangeReceiver(request, buffer)
        _ = start(request, receiver)
        return receiver.wait()
    }
}

/// Puts the bytes of a range where they are wanted.
@safe
final class RangeReceiver: HTTPReceiver, @unchecked Sendable {
    // @unchecked: until `end` the network thread alone touches buffer and answer; who waits reads
    // them after it, and the monitor stands between.
    private let buffer: UnsafeMutableRawBufferPointer
    private let start: UInt64
    private var answer = RangeAnswer(head: HTTPHead(status: 0), received: 0, otherBody: [])
    private let isOver = Monitor(false)

    /// The most bytes of an error's body that are kept, and that are read.
    private static let errorLimit = 64 << 10

    init(_ request: HTTPRequest, _ buffer: UnsafeMutableRawBufferPointer) {
        unsafe self.buffer = buffer
        start = request.range?.lowerBound ?? 0
    }

    func begin(_ head: HTTPHead) -> HTTPError? {
        answer.head = head
        if head.status == 200 {
            return HTTPError(.rangeIgnored, "the whole blob was sent instead of a range")
        }
        guard head.status == 206 else { return nil }
        guard let range = head["content-range"].flatMap({ ContentRange($0) }) else {
            return HTTPError(.malformed, "206 without a Content-Range")
        }
        guard range.first == start else {
            return HTTPError(.malformed, "bytes from \(range.first), expected from \(start)")
        }
        return nil
    }

    func take(_ bytes: RawSpan) -> HTTPReception {
        guard answer.head.status == 206 else {
            guard bytes.byteCount <= Self.errorLimit - answer.otherBody.count else {
                return .refused(HTTPError(.tooLarge, "an endless answer"))
            }
            unsafe bytes.withUnsafeBytes { unsafe answer.otherBody.append(contentsOf: $0) }
            return .taken
        }
        let room = unsafe buffer.count - answer.received
        guard bytes.byteCount <= room else {
            return .refused(HTTPError(.malformed, "more bytes than were asked for"))
        }
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[answer.received...])
                .copyMemory(from: bytes)
        }
        answer.received += bytes.byteCount
        return .taken
    }

    func end(_ error: HTTPError?) {
        answer.error = error
        let isShort = unsafe answer.received < buffer.count
        if error == nil, answer.head.status == 206, isShort {
            answer.error = HTTPError(.interrupted, "fewer bytes than were asked for")
        }
        isOver.update { $0 = true }
    }

    func wait() -> RangeAnswer {
        _ = isOver.wait { $0 ? true : nil }
        return answer
    }
}

/// The value of a Content-Range header: `bytes 0-9/100` or `bytes 0-9/*`.
package struct ContentRange: Sendable, Equatable {
    /// The first byte.
    package let first: UInt64
    /// The last byte.
    package let last: UInt64
    /// The size of the whole; nil if it is not told.
    package let total: UInt64?

    /// The range in the text; nil if it is none.
    package init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 2, words[0].lowercased() == "bytes" else { return nil }
        let parts = words[1].split(separator: "/")
        guard parts.count == 2 else { return nil }
        let ends = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = UInt64(ends[0]), let last = UInt64(ends[1]),
            first <= last
        else { return nil }
        total = UInt64(parts[1])
        guard total != nil || parts[1] == "*" else { return nil }
        self.first = first
        self.last = last
    }
}
