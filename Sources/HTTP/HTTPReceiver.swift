// SPDX-License-Identifier: Apache-2.0

/// What became of bytes that a receiver was offered.
package enum HTTPReception: Sendable {
    /// All were taken.
    case taken
    /// None was; they are offered again after `HTTPExchange.resume`.
    case full
    /// None was, and none ever will be: the response is given up.
    case refused(HTTPError)
}

/// Takes a response as it comes.
///
/// All is called on the network thread, which serves everybody: nothing here may wait. `end` comes
/// once and last, whatever happens.
package protocol HTTPReceiver: AnyObject, Sendable {
    /// Takes status and headers.
    ///
    /// - Parameter head: the head of the final response.
    /// - Returns: why the rest is not wanted; nil if it is.
    func begin(_ head: HTTPHead) -> HTTPError?

    /// Takes bytes of the body.
    ///
    /// - Parameter bytes: the next ones; not kept beyond the call.
    /// - Returns: what became of them.
    func take(_ bytes: RawSpan) -> HTTPReception

    /// Learns that the response is over.
    ///
    /// - Parameter error: nil if it was complete.
    func end(_ error: HTTPError?)
}

/// A request on its way, to whoever sent it.
package struct HTTPExchange: Sendable {
    let id: UInt64
    let loop: NetworkLoop?

    /// Has bytes offered again that the receiver had no room for.
    package func resume() { loop?.post(.resume(id)) }

    /// Gives the request up; the receiver's `end` still comes.
    package func cancel() { loop?.post(.cancel(id)) }
}
