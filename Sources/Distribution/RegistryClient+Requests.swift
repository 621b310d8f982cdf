// SPDX-License-Identifier: Apache-2.0

import HTTP

/// Single requests to single hosts.
extension RegistryClient {
    /// A request to a host; only its address is made here.
    func request(
        _ method: HTTPRequest.Method,
        _ host: RegistryHost,
        _ path: String,
        query: KeyValuePairs<String, String> = [:]
    ) throws(HTTPError) -> HTTPRequest {
        var url = URL("\(host.base.text)/\(repository)/\(path)")
        if let namespace = host.namespace { url = url?.adding(["ns": namespace]) }
        if !query.isEmpty { url = url?.adding(query) }
        guard let url else { throw HTTPError(.invalidRequest, "\(place)/\(path) is no address") }
        return HTTPRequest(method, url)
    }

    /// Sends a request, authorized, and sees to it that it was granted.
    ///
    /// - Parameters:
    ///   - request: what is asked for.
    ///   - host: who; only it sees our credentials.
    ///   - scopes: what is going to be done.
    ///   - expected: statuses that are answers beside success: 404 where it says no.
    ///   - send: sends one request.
    /// - Returns: the answer.
    /// - Throws: `HTTPError` if there is none, or it is a refusal.
    func exchange<Answer: HTTPAnswer>(
        _ request: HTTPRequest,
        at host: RegistryHost,
        scopes: [String],
        expecting expected: [Int] = [],
        _ send: (HTTPRequest) throws(HTTPError) -> Answer
    ) throws(HTTPError) -> Answer {
        let authorizer = access.authorizer(host, registry, repository)
        var request = request
        // An upload may be sent on to another host, by the address it is given.
        let isHost = request.url.origin == host.base.origin
        request.hostHeaders = isHost ? host.headers : []
        request.tls = host.tls
        var isRetried = false
        while true {
            if isHost {
                request.authorization = try authorizer.authorization(
                    for: scopes,
                    deadline: request.deadline
                )
            }
            let answer = try access.http.following(request, send)
            let status = answer.head.status
            if answer.head.isSuccess || expected.contains(status) { return answer }
            if isHost, !isRetried, status == 401 || (status == 403 && request.authorization != nil),
                try authorizer.learn(
                    from: answer.head,
                    rejected: request.authorization,
                    scopes: scopes
                )
            {
                isRetried = true
                continue
            }
            throw answer.head.error(
                request,
                message: RegistryMessage.text(of: answer.errorBody())
            )
        }
    }

    /// Sends a request, authorized, and gathers the answer in memory.
    ///
    /// - Parameters:
    ///   - request: what is asked for.
    ///   - host: who.
    ///   - scopes: what is going to be done.
    ///   - expected: statuses that are answers beside success.
    ///   - limit: the most bytes of a body that are accepted.
    /// - Returns: the answer.
    /// - Throws: `HTTPError` if there is none, or it is a refusal.
    func answer(
        to request: HTTPRequest,
        at host: RegistryHost,
        scopes: [String],
        expecting expected: [Int] = [],
        limit: Int = 1 << 20
    ) throws(HTTPError) -> HTTPResponse {
        try exchange(request, at: host, scopes: scopes, expecting: expected) {
            (request) throws(HTTPError) in try access.http.send(request, limit: limit)
        }
    }

    /// Asks one host whether it has something, as whoever is going to push.
    ///
    /// - Parameters:
    ///   - path: names it in the repository.
    ///   - host: who.
    ///   - headers: of the request.
    ///   - deadline: when to give up.
    /// - Returns: what the host says of it; nil if it is not there.
    /// - Throws: `HTTPError` if that cannot be found out.
    func head(
        _ path: String,
        at host: RegistryHost,
        headers: [HTTPHeader] = [],
        deadline: UInt64
    ) throws(HTTPError) -> HTTPHead? {
        var request = try request(.head, host, path)
        request.headers = headers
        request.deadline = deadline
        let scopes = scopes("pull,push")
        let head = try answer(to: request, at: host, scopes: scopes, expecting: [404]).head
        return head.isSuccess ? head : nil
    }
}
