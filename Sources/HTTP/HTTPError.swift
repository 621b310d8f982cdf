// SPDX-License-Identifier: Apache-2.0
//
// HTTP: requests, ranges, redirects and retries over libcurl's multi interface. One thread talks to
// the network; whoever asks is called back on it, or waits. A message never holds a header, or a
// URL's query or user part: these are where secrets are.

package import Content

/// Why a request was not answered, or not as it should be.
package struct HTTPError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What went wrong.
    package enum Kind: Sendable, Equatable {
        /// The request itself cannot be sent.
        case invalidRequest
        /// The host's name is not known.
        case unknownHost
        /// Nobody answers there.
        case unreachable
        /// The other side is not who it should be.
        case untrusted
        /// The time is over, or the other side went silent.
        case timeout
        /// The connection ended before the response did.
        case interrupted
        /// The response contradicts the protocol or the request.
        case malformed
        /// The response is larger than what is accepted.
        case tooLarge
        /// The whole was sent where a part was asked for.
        case rangeIgnored
        /// Given up on our side.
        case cancelled
        /// Memory or threads ran out.
        case exhausted
        /// A status that is no success.
        case status(Int)
    }

    /// What went wrong, for programs.
    package var kind: Kind
    /// The cause in words, without what was asked for.
    package var cause: String
    /// What was asked for, `GET https://host/path`; empty where that is not known.
    package var request: String
    /// How long the other side asks to wait, in nanoseconds; nil if it does not.
    package var retryAfter: UInt64?

    /// An error of the kind with the cause in words.
    package init(_ kind: Kind, _ cause: String, request: String = "", retryAfter: UInt64? = nil) {
        self.kind = kind
        self.cause = cause
        self.request = request
        self.retryAfter = retryAfter
    }

    package var description: String { request.isEmpty ? cause : "\(request): \(cause)" }

    /// Whether the same request may succeed later.
    package var isRetryable: Bool {
        switch kind {
        case .unknownHost, .unreachable, .timeout, .interrupted: true
        case .status(let status): [408, 425, 429, 500, 502, 503, 504].contains(status)
        default: false
        }
    }

    /// The error in the words of those who read images.
    package var asContentError: ContentError {
        let kind: ContentError.Kind =
            switch self.kind {
            case .status(404), .status(410): .notFound
            case .status(401), .status(403), .untrusted: .denied
            case .status(405), .status(501), .invalidRequest: .unsupported
            case .tooLarge, .exhausted: .limitExceeded
            case .malformed: .corrupt
            default: .inputOutput
            }
        return ContentError(kind, description)
    }

    /// The same error with the request it belongs to.
    func of(_ request: HTTPRequest) -> HTTPError {
        var error = self
        error.request = request.description
        return error
    }
}

extension HTTPHead {
    /// The status as an error.
    ///
    /// - Parameters:
    ///   - request: what was asked for.
    ///   - message: what the body says of it; empty for nothing.
    /// - Returns: the error, with the wait the response asks for.
    package func error(_ request: HTTPRequest, message: String = "") -> HTTPError {
        let words = Self.reasons[status].map { "\(status) \($0)" } ?? "status \(status)"
        // Seconds; a date is not worth a parser here, and is treated as a minute.
        let seconds = self["retry-after"].map { UInt64($0) ?? 60 }
        return HTTPError(
            .status(status),
            message.isEmpty ? words : "\(words): \(message)",
            request: request.description,
            retryAfter: seconds.map { min($0, 3600) * 1_000_000_000 }
        )
    }

    /// HTTP/2 has no reasons, and those of HTTP/1.1 may say anything.
    private static let reasons = [
        400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 410: "Gone",
        413: "Content Too Large", 416: "Range Not Satisfiable", 429: "Too Many Requests",
        500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
        503: "Service Unavailable", 504: "Gateway Timeout", 507: "Insufficient Storage",
    ]
}
