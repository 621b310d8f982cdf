// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// Sends requests; one for the whole process is enough.
///
/// The network thread starts with the first request. After a fork the new process gets one of its
/// own, and connections of its own: a thread does not go along.
package final class HTTPClient: Sendable {
    private struct State {
        var loop: NetworkLoop?
        /// The process that the loop's thread is in.
        var process: Int32 = 0
    }

    private let userAgent: String
    private let state = Mutex(State())
    /// Where redirects led, as long as that holds.
    let locations = SignedLocations()

    /// A client.
    ///
    /// - Parameter userAgent: how it names itself to servers.
    package init(userAgent: String) {
        self.userAgent = userAgent
    }

    deinit {
        state.withLock { $0.loop?.post(.stop) }
    }

    /// Sends a request; redirects are not followed.
    ///
    /// - Parameters:
    ///   - request: what is asked for.
    ///   - receiver: takes the response, on the network thread.
    /// - Returns: the exchange.
    package func start(_ request: HTTPRequest, _ receiver: any HTTPReceiver) -> HTTPExchange {
        let loop: NetworkLoop
        do throws(HTTPError) {
            loop = try startedLoop()
        } catch {
            receiver.end(error.of(request))
            return HTTPExchange(id: 0, loop: nil)
        }
        let id = loop.makeID()
        loop.post(.start(id, request, receiver))
        return HTTPExchange(id: id, loop: loop)
    }

    private func startedLoop() throws(HTTPError) -> NetworkLoop {
        try state.withLock { (state) throws(HTTPError) -> NetworkLoop in
            let process = CurrentProcess.id
            if let loop = state.loop, state.process == process { return loop }
            // What a fork left is not taken apart: its connections are the other process's.
            if let old = state.loop { _ = unsafe Unmanaged.passRetained(old) }
            let started = try NetworkLoop.start(userAgent: userAgent)
            state = State(loop: started, process: process)
            return started
        }
    }
}

/// A response of which the head is known.
package protocol HTTPAnswer {
    /// Status and headers.
    var head: HTTPHead { get }

    /// The beginning of the body, which of an error says more.
    func errorBody() -> [UInt8]
}

/// A response in memory.
package struct HTTPResponse: HTTPAnswer, Sendable {
    /// Status and headers.
    package var head: HTTPHead
    /// The body.
    package var body: [UInt8]

    package func errorBody() -> [UInt8] { body }
}

extension HTTPClient {
    /// Sends a request and waits for the whole response.
    ///
    /// - Parameters:
    ///   - request: what is asked for.
    ///   - limit: the most bytes of a body that are accepted.
    /// - Returns: the response, whatever its status.
    /// - Throws: `HTTPError` if there is none.
    package func send(
        _ request: HTTPRequest,
        limit: Int = 1 << 20
    ) throws(HTTPError) -> HTTPResponse {
        let receiver = DocumentReceiver(limit: limit)
        _ = start(request, receiver)
        return try receiver.wait()
    }
}

/// Gathers a response in memory.
private final class DocumentReceiver: HTTPReceiver {
    private struct State {
        var head: HTTPHead?
        var body: [UInt8] = []
        var result: Result<HTTPResponse, HTTPError>?
    }

    private let state = Monitor(State())
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    func begin(_ head: HTTPHead) -> HTTPError? {
        state.update { $0.head = head }
        return nil
    }

    func take(_ bytes: RawSpan) -> HTTPReception {
        let count = bytes.byteCount
        let isTaken = state.update { state in
            guard count <= limit - state.body.count else { return false }
            unsafe bytes.withUnsafeBytes { unsafe state.body.append(contentsOf: $0) }
            return true
        }
        return isTaken ? .taken : .refused(HTTPError(.tooLarge, "more than \(limit) bytes"))
    }

    func end(_ error: HTTPError?) {
        state.update { state in
            if let error {
                state.result = .failure(error)
            } else if let head = state.head {
                state.result = .success(HTTPResponse(head: head, body: state.body))
            }
        }
    }

    func wait() throws(HTTPError) -> HTTPResponse {
        try state.wait { $0.result }.get()
    }
}
