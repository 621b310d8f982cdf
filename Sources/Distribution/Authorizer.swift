// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import Linux
import OCI

/// Authorizes requests to one host (distribution's "Token Authentication Specification").
///
/// 1. Nothing is sent before the host asks for it with a challenge.
/// 2. For one set of scopes one thread at a time asks the token server; all others wait for it and
///    share what it gets, token or error. So an expiry costs one request, whoever notices it.
/// 3. A token is not used in the last fifth of its life.
final class Authorizer: Sendable {
    private enum Mode {
        case none
        case basic
        case bearer(realm: URL, service: String?)
    }

    private struct Token {
        var text: String
        /// When it is not used any more, on the monotonic clock.
        var end: UInt64
    }

    private enum Slot {
        case fetching
        case token(Token)
        /// How the attempt ended that those who waited waited for.
        case failed(HTTPError)
    }

    private struct State {
        var mode = Mode.none
        var slots: [[String]: Slot] = [:]
        /// How many attempts for a set of scopes have ended.
        var attempts: [[String]: Int] = [:]
    }

    private let state = Monitor(State())
    private let http: HTTPClient
    private let tls: TLSSettings
    private let isEncrypted: Bool
    private let credential: @Sendable () throws(ContentError) -> Credential?

    /// An authorizer for a host.
    ///
    /// - Parameters:
    ///   - host: the host.
    ///   - http: asks the token server.
    ///   - credential: finds the credential, when it is needed.
    init(
        _ host: RegistryHost,
        _ http: HTTPClient,
        credential: @escaping @Sendable () throws(ContentError) -> Credential?
    ) {
        self.http = http
        tls = host.tls
        isEncrypted = host.base.scheme == "https"
        self.credential = credential
    }

    private func foundCredential() throws(HTTPError) -> Credential? {
        do throws(ContentError) {
            return try credential()
        } catch {
            throw HTTPError(.status(401), error.message)
        }
    }

    /// The value of the Authorization header.
    ///
    /// - Parameters:
    ///   - scopes: what is going to be done.
    ///   - deadline: when it is too late, on the monotonic clock.
    /// - Returns: the value; nil if none is needed, as far as is known.
    /// - Throws: `HTTPError` if the token server does not give a token.
    func authorization(for scopes: [String], deadline: UInt64?) throws(HTTPError) -> String? {
        let mode = state.update { $0.mode }
        switch mode {
        case .none: return nil
        case .basic: return try foundCredential()?.basicAuthorization
        case .bearer(let realm, let service):
            if case .registryToken(let token)? = try foundCredential() { return "Bearer \(token)" }
            let token = try token(for: scopes) { () throws(HTTPError) in
                try fetch(realm, service, scopes, deadline)
            }
            return "Bearer \(token)"
        }
    }

    /// Learns from a refusal.
    ///
    /// - Parameters:
    ///   - head: the answer with the challenges.
    ///   - rejected: the value of the Authorization header that was refused; nil for none.
    ///   - scopes: what was going to be done.
    /// - Returns: whether asking again may help.
    /// - Throws: `HTTPError` if a credential is needed that nobody has.
    func learn(
        from head: HTTPHead,
        rejected: String?,
        scopes: [String]
    ) throws(HTTPError) -> Bool {
        let challenges = AuthChallenge.parse(head.all("www-authenticate"))
        if let bearer = challenges.first(where: { $0.scheme == "bearer" }) {
            guard let realm = bearer.parameters["realm"].flatMap({ URL($0) }) else { return false }
            state.update { state in
                state.mode = .bearer(realm: realm, service: bearer.parameters["service"])
                // Somebody else may have got a new one meanwhile.
                if case .token(let token)? = state.slots[scopes],
                    rejected == "Bearer \(token.text)"
                {
                    state.slots[scopes] = nil
                }
            }
            return true
        }
        guard challenges.contains(where: { $0.scheme == "basic" }) else {
            // A 403 without a challenge: a token may have lost its rights.
            guard let rejected else { return false }
            return state.update { state in
                guard case .token(let token)? = state.slots[scopes],
                    rejected == "Bearer \(token.text)"
                else { return false }
                state.slots[scopes] = nil
                return true
            }
        }
        state.update { $0.mode = .basic }
        guard let value = try foundCredential()?.basicAuthorization else { return false }
        return value != rejected
    }

    /// The token for the scopes: one that is there, one that somebody is getting, or a new one.
    private func token(
        for scopes: [String],
        _ fetch: () throws(HTTPError) -> Token
    ) throws(HTTPError) -> String {
        let first = state.update { $0.attempts[scopes, default: 0] }
        let known = state.wait { state -> Result<String, HTTPError>?? in
            switch state.slots[scopes] {
            case .fetching: return nil
            case .token(let token) where token.end > CurrentProcess.monotonicNanoseconds:
                return .some(.success(token.text))
            case .failed(let error) where state.attempts[scopes, default: 0] > first:
                return .some(.failure(error))
            default:
                state.slots[scopes] = .fetching
                return .some(nil)
            }
        }
        if let known { return try known.get() }
        do throws(HTTPError) {
            let token = try fetch()
            state.update { $0.slots[scopes] = .token(token) }
            return token.text
        } catch {
            state.update { state in
                state.slots[scopes] = .failed(error)
                state.attempts[scopes, default: 0] += 1
            }
            throw error
        }
    }

    private func fetch(
        _ realm: URL,
        _ service: String?,
        _ scopes: [String],
        _ deadline: UInt64?
    ) throws(HTTPError) -> Token {
        let start = CurrentProcess.monotonicNanoseconds
        guard realm.scheme == "https" || !isEncrypted || realm.isLoopback else {
            throw HTTPError(
                .status(401),
                "the registry's token server \(realm) is not encrypted; no credential is sent there"
            )
        }
        var request = try request(realm, service, scopes)
        request.tls = tls
        request.deadline = deadline
        let response = try RetryPolicy.command.run { (limit) throws(HTTPError) in
            request.deadline = min(limit, deadline ?? limit)
            let response = try http.send(request)
            guard response.head.isSuccess else {
                throw response.head.error(
                    request,
                    message: RegistryMessage.text(of: response.body)
                )
            }
            return response
        }
        guard let answer = try? JSONValue(parsing: response.body, document: "token"),
            let text = [answer["token"], answer["access_token"]].compactMap({ $0?.text })
                .first(where: { !$0.isEmpty })
        else { throw HTTPError(.malformed, "an answer without a token", request: "\(request)") }
        var seconds: UInt64 = 60
        if case .integer(let number)? = answer["expires_in"], number > 0 {
            seconds = min(UInt64(number), 86_400)
        }
        return Token(text: text, end: start &+ seconds &* 800_000_000)
    }

    private func request(
        _ realm: URL,
        _ service: String?,
        _ scopes: [String]
    ) throws(HTTPError) -> HTTPRequest {
        let credential = try foundCredential()
        if case .identityToken(let token)? = credential {
            var form = "grant_type=refresh_token&client_id=lazypull"
            form += "&refresh_token=\(URL.escaped(token))"
            form += "&scope=\(URL.escaped(scopes.joined(separator: " ")))"
            if let service { form += "&service=\(URL.escaped(service))" }
            var request = HTTPRequest(.post, realm)
            request.headers = [HTTPHeader("Content-Type", "application/x-www-form-urlencoded")]
            request.body = HTTPBody(Array(form.utf8))
            return request
        }
        var url: URL? = realm
        if let service { url = url?.adding(["service": service]) }
        for scope in scopes { url = url?.adding(["scope": scope]) }
        guard let url else { throw HTTPError(.malformed, "\(realm) is no token server") }
        var request = HTTPRequest(.get, url)
        request.authorization = credential?.basicAuthorization
        return request
    }
}
