// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import Log
import OCI

/// A blob on its way into a registry, in chunks (distribution-spec, "Pushing a blob in chunks").
///
/// A chunk stays in memory until it is taken: after a failure the registry is asked how far it
/// got, and gets the rest. Used by one thread at a time.
final class UploadSession: @unchecked Sendable {
    // @unchecked: handed from thread to thread through a monitor, never shared.

    /// What came of asking for a session.
    enum Beginning {
        case session(UploadSession)
        /// The registry took the blob from another repository of its own.
        case mounted
    }

    private let client: RegistryClient
    private let host: RegistryHost
    private let scopes: [String]
    /// Where the next request goes; the registry says it anew with each answer.
    private var location: URL
    /// How many bytes the registry has.
    private var offset: UInt64 = 0
    /// Whether the registry knows the upload no more; what was sent is to be sent anew.
    private(set) var isLost = false

    /// How long a registry may be silent while it puts a blob in its place, in seconds: it may
    /// read all of it again.
    private static let commitSeconds = 900

    private init(_ client: RegistryClient, _ host: RegistryHost, _ location: URL) {
        self.client = client
        self.host = host
        self.location = location
        scopes = client.scopes("pull,push")
    }

    /// Begins an upload.
    ///
    /// - Parameters:
    ///   - client: the repository.
    ///   - host: the host that takes it.
    ///   - mounting: a blob that another repository of this registry has; nil if none does.
    /// - Returns: the session, or that none is needed.
    /// - Throws: `ContentError` if the registry does not take uploads.
    static func begin(
        _ client: RegistryClient,
        at host: RegistryHost,
        mounting: (digest: Digest, repository: String)? = nil
    ) throws(ContentError) -> Beginning {
        try client.atHost(host, "upload") { (deadline) throws(HTTPError) in
            var scopes = client.scopes("pull,push")
            var request = try client.request(.post, host, "blobs/uploads/")
            if let mounting {
                scopes.append("repository:\(mounting.repository):pull")
                request.url =
                    request.url.adding([
                        "mount": mounting.digest.oci, "from": mounting.repository,
                    ]) ?? request.url
            }
            request.body = HTTPBody([])
            request.deadline = deadline
            let head = try client.answer(to: request, at: host, scopes: scopes).head
            if head.status == 201, mounting != nil { return .mounted }
            let location = try target(of: head, request)
            return .session(UploadSession(client, host, location))
        }
    }

    /// Where an answer says to go on.
    private static func target(
        of head: HTTPHead,
        _ request: HTTPRequest
    ) throws(HTTPError) -> URL {
        guard let location = head["location"].flatMap({ request.url.resolving($0) }) else {
            throw HTTPError(.malformed, "no Location for the upload", request: "\(request)")
        }
        guard location.scheme == "https" || request.url.scheme == "http" else {
            throw HTTPError(
                .malformed,
                "the upload is led from https to http",
                request: "\(request)"
            )
        }
        return location
    }

    private func exchange(_ request: HTTPRequest) throws(HTTPError) -> HTTPHead {
        do throws(HTTPError) {
            return try client.answer(to: request, at: host, scopes: scopes).head
        } catch {
            // 404: unknown; 416: another offset than the one it told.
            guard [.status(404), .status(416)].contains(error.kind) else { throw error }
            throw lost(error.cause, error.request)
        }
    }

    /// To ask again does not help, to begin anew does.
    private func lost(_ cause: String, _ request: String) -> HTTPError {
        isLost = true
        client.access.log.info(
            "upload lost",
            [
                "registry": client.registry, "repository": client.repository, "bytes": offset,
                "cause": cause,
            ]
        )
        return HTTPError(
            .cancelled,
            "the registry has lost the upload (\(cause))",
            request: request
        )
    }

    /// Sends the next chunk.
    ///
    /// - Parameter body: its bytes.
    /// - Throws: `ContentError` if the registry does not take it, or has lost the upload.
    func send(_ body: HTTPBody) throws(ContentError) {
        let start = offset
        let end = start + UInt64(body.count)
        var hasFailed = false
        try client.atHost(host, "upload from byte \(start)") { (_) throws(HTTPError) in
            if hasFailed { try findOffset(in: start...end) }
            guard offset < end else { return }
            var request = HTTPRequest(.patch, location)
            request.headers = [
                HTTPHeader("Content-Type", "application/octet-stream"),
                HTTPHeader("Content-Range", "\(offset)-\(end - 1)"),
            ]
            request.body = body.dropFirst(Int(offset - start))
            request.stallSeconds = client.access.retry.stallSeconds
            do throws(HTTPError) {
                location = try Self.target(of: try exchange(request), request)
            } catch {
                hasFailed = true
                throw error
            }
            offset = end
        }
    }

    /// Asks how many bytes arrived.
    private func findOffset(in range: ClosedRange<UInt64>) throws(HTTPError) {
        var request = HTTPRequest(.get, location)
        request.stallSeconds = client.access.retry.stallSeconds
        let head = try exchange(request)
        // `0-99`; of no bytes `0-0`, as of one.
        let last = head["range"]?.split(separator: "-").last.flatMap { UInt64($0) } ?? 0
        let found = last == 0 ? range.lowerBound : last + 1
        guard range.contains(found) else {
            throw lost("it has \(found) bytes, expected \(range)", "\(request)")
        }
        offset = found
        if head["location"] != nil { location = try Self.target(of: head, request) }
    }

    /// Ends the upload: the registry compares the digest and puts the blob in its place.
    ///
    /// - Parameters:
    ///   - digest: the blob's digest.
    ///   - size: its size in bytes.
    ///   - body: the whole blob, if nothing was sent before.
    /// - Throws: `ContentError` if the registry does not take it.
    func finish(_ digest: Digest, size: UInt64, _ body: HTTPBody?) throws(ContentError) {
        var hasFailed = false
        try client.atHost(host, "blob \(digest)") { (deadline) throws(HTTPError) in
            // An end of which no answer came may have been reached all the same.
            if hasFailed, try client.head("blobs/\(digest)", at: host, deadline: deadline) != nil {
                return
            }
            guard let url = location.adding(["digest": digest.oci]) else {
                throw HTTPError(.malformed, "the upload's Location is no address")
            }
            var request = HTTPRequest(.put, url)
            request.headers = [HTTPHeader("Content-Type", "application/octet-stream")]
            request.body = body ?? HTTPBody([])
            // What comes with the request is read once, and is a chunk at most.
            request.stallSeconds =
                body == nil ? Self.commitSeconds : client.access.retry.silenceSeconds
            do throws(HTTPError) {
                _ = try exchange(request)
            } catch {
                hasFailed = true
                throw error
            }
        }
    }
}
