// SPDX-License-Identifier: Apache-2.0

import Content
package import HTTP
package import OCI

/// Asks a service by its admin socket.
package struct AdminClient: Sendable {
    private let http: HTTPClient
    private let address: String

    /// A client of the service at a socket.
    ///
    /// - Parameters:
    ///   - http: sends the requests.
    ///   - address: the admin socket's path.
    package init(_ http: HTTPClient, address: String) {
        self.http = http
        self.address = address
    }

    /// Gets a text.
    ///
    /// - Parameter path: what is asked for: `/metrics`.
    /// - Returns: the text.
    /// - Throws: `HTTPError` if no service answers; `ContentError` for another answer than 200.
    package func text(_ path: String) throws -> [UInt8] {
        guard let url = URL("http://localhost\(path)") else {
            throw ContentError(.notFound, path)
        }
        var request = HTTPRequest(.get, url)
        request.unixSocket = address
        let response = try http.send(request, limit: 16 << 20)
        guard response.head.status == 200 else {
            throw ContentError(
                .inputOutput,
                "\(address) answers \(path) with \(response.head.status)"
            )
        }
        return response.body
    }

    /// Gets the service's state.
    ///
    /// - Throws: as `text`; `ContentError` for what is not JSON.
    package func state() throws -> JSONValue {
        try JSONValue(parsing: try text("/state"), document: "state")
    }
}
