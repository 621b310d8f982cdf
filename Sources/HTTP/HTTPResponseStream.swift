// SPDX-License-Identifier: Apache-2.0

import Linux

/// A response whose body is read as it comes, by one thread at a time.
///
/// The other side is held back when nobody reads: at most a buffer's worth is here. Dropped before
/// its end, the request is given up.
package final class HTTPResponseStream: HTTPAnswer, Sendable {
    /// Status and headers.
    package let head: HTTPHead
    private let receiver: StreamReceiver
    private let exchange: HTTPExchange

    fileprivate init(
        _ head: HTTPHead,
        _ receiver: StreamReceiver,
        _ exchange: HTTPExchange
    ) {
        self.head = head
        self.receiver = receiver
        self.exchange = exchange
    }

    deinit {
        exchange.cancel()
    }

    /// Reads the next bytes of the body.
    ///
    /// - Parameter buffer: takes the bytes from its start; not empty.
    /// - Returns: how many bytes were read, at least 1; 0 only at the end.
    /// - Throws: `HTTPError` if the rest cannot be had.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(HTTPError) -> Int {
        let (count, resumes) = try unsafe receiver.read(into: buffer)
        if resumes { exchange.resume() }
        return count
    }

    package func errorBody() -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 64 << 10)
        var done = 0
        while done < result.count {
            let count =
                (try? unsafe result.withUnsafeMutableBytes { (bytes) throws(HTTPError) in
                    try unsafe read(
                        into: UnsafeMutableRawBufferPointer(rebasing: bytes[done...])
                    )
                }) ?? 0
            guard count > 0 else { break }
            done += count
        }
        return Array(result[..<done])
    }
}

extension HTTPClient {
    /// Sends a request and waits for the head of the response.
    ///
    /// - Parameter request: what is asked for.
    /// - Returns: the response, whatever its status.
    /// - Throws: `HTTPError` if there is none.
    package func open(_ request: HTTPRequest) throws(HTTPError) -> HTTPResponseStream {
        let receiver = StreamReceiver()
        let exchange = start(request, receiver)
        return HTTPResponseStream(try receiver.waitForHead(), receiver, exchange)
    }
}

/// A ring of bytes between the network thread and a reader.
private final class StreamReceiver: HTTPReceiver {
    /// Twice what libcurl offers at most in one piece, so that a reader of half keeps it busy.
    private static let capacity = 2 << 20

    private struct State {
        var head: HTTPHead?
        var ring: [UInt8] = []
        var start = 0
        var count = 0
        var isPaused = false
        /// Set at the end: nil inside if the response was complete.
        var end: HTTPError??
    }

    private let state = Monitor(State())

    func begin(_ head: HTTPHead) -> HTTPError? {
        state.update { $0.head = head }
        return nil
    }

    func take(_ bytes: RawSpan) -> HTTPReception {
        let count = bytes.byteCount
        guard count <= Self.capacity else {
            return .refused(HTTPError(.exhausted, "a piece of \(count) bytes"))
        }
        return state.update { state in
            // Not before there is something to keep: a redirect has no body worth a buffer.
            if state.ring.isEmpty {
                state.ring = [UInt8](repeating: 0, count: Self.capacity)
            }
            guard count <= Self.capacity - state.count else {
                state.isPaused = true
                return .full
            }
            let end = (state.start + state.count) % Self.capacity
            let first = min(count, Self.capacity - end)
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe state.ring.withUnsafeMutableBytes { ring in
                    unsafe UnsafeMutableRawBufferPointer(rebasing: ring[end...])
                        .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<first]))
                    unsafe ring.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[first...]))
                }
            }
            state.count += count
            return .taken
        }
    }

    func end(_ error: HTTPError?) {
        state.update { $0.end = .some(error) }
    }

    func waitForHead() throws(HTTPError) -> HTTPHead {
        try state.wait { state -> Result<HTTPHead, HTTPError>? in
            if let head = state.head { return .success(head) }
            guard let end = state.end else { return nil }
            return .failure(end ?? HTTPError(.malformed, "a response without a head"))
        }.get()
    }

    /// Reads what is there, and waits for the first byte.
    ///
    /// - Returns: how much, and whether the network thread is to offer again what did not fit.
    func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(HTTPError) -> (count: Int, resumes: Bool) {
        // The pointer is used before this returns.
        nonisolated(unsafe) let buffer = unsafe buffer
        return try state.wait { state -> Result<(count: Int, resumes: Bool), HTTPError>? in
            guard state.count > 0 else {
                guard let end = state.end else { return nil }
                return end.map { .failure($0) } ?? .success((0, false))
            }
            let count = unsafe min(buffer.count, state.count, Self.capacity - state.start)
            let (start, end) = (state.start, state.start + count)
            unsafe state.ring.withUnsafeBytes { ring in
                unsafe buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: ring[start..<end])
                )
            }
            state.start = end % Self.capacity
            state.count -= count
            let resumes = state.isPaused && state.count <= Self.capacity / 2
            if resumes { state.isPaused = false }
            return .success((count, resumes))
        }.get()
    }
}
