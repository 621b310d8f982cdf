// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import HTTP
import OCI

/// A manifest or an index as a registry gave it.
struct RegistryDocument: Sendable {
    /// Names it.
    var descriptor: Descriptor
    /// Its bytes, of which the descriptor holds the digest.
    var bytes: [UInt8]
}

extension RegistryClient {
    /// The kinds of documents that are understood.
    private static let accept = HTTPHeader(
        "Accept",
        [MediaType.manifest, .index, .dockerManifest, .dockerManifestList].map(\.text)
            .joined(separator: ", ")
    )

    /// Fetches a manifest or an index.
    ///
    /// - Parameters:
    ///   - name: its tag, or its digest, with which it is compared.
    ///   - digest: its digest, if it is known.
    /// - Returns: the document.
    /// - Throws: `ContentError` if there is none, or it is not what its digest says.
    func manifest(_ name: String, _ digest: Digest?) throws(ContentError) -> RegistryDocument {
        let object = "manifest \(name)"
        let response = try ask(digest == nil ? .resolve : .pull, object) {
            (host, deadline) throws(HTTPError) in
            var request = try request(.get, host, "manifests/\(name)")
            request.headers = [Self.accept]
            request.deadline = deadline
            let response = try answer(
                to: request,
                at: host,
                scopes: scopes("pull"),
                limit: JSONValue.documentLimit
            )
            let found = StreamingDigest.digest(of: response.body)
            // Of a mirror or of the registry: the next one is asked.
            let told = response.head["docker-content-digest"].flatMap { Digest(oci: $0) }
            for expected in [digest, told] where expected != nil && expected != found {
                throw HTTPError(
                    .malformed,
                    "digest mismatch: expected \(expected ?? found), found \(found)",
                    request: "\(request)"
                )
            }
            return response
        }
        let descriptor = Descriptor(
            mediaType: try Self.mediaType(response, object),
            digest: StreamingDigest.digest(of: response.body),
            size: UInt64(response.body.count)
        )
        return RegistryDocument(descriptor: descriptor, bytes: response.body)
    }

    /// What the document is: the registry's word for it, else its own.
    private static func mediaType(
        _ response: HTTPResponse,
        _ object: String
    ) throws(ContentError) -> MediaType {
        let header = response.head["content-type"]?.split(separator: ";").first
        let told = MediaType(header.map { String($0.filter { $0 != " " }) } ?? "")
        if told.isManifest || told.isIndex { return told }
        let own = try JSONValue(parsing: response.body, document: object)["mediaType"]?.text
        let type = MediaType(own ?? told.text)
        guard type.isManifest || type.isIndex else {
            throw .unsupported("\(object): media type \(type.text.prefix(160)) is not supported")
        }
        return type
    }

    /// Whether a manifest is there.
    ///
    /// - Parameters:
    ///   - name: its tag or its digest.
    ///   - host: where it would be.
    /// - Returns: its digest, if it is there and the host tells.
    /// - Throws: `ContentError` if that cannot be found out.
    func findManifest(_ name: String, at host: RegistryHost) throws(ContentError) -> Digest? {
        try atHost(host, "manifest \(name)") { (deadline) throws(HTTPError) in
            let head = try head(
                "manifests/\(name)",
                at: host,
                headers: [Self.accept],
                deadline: deadline
            )
            return head?["docker-content-digest"].flatMap { Digest(oci: $0) }
        }
    }

    /// Stores a manifest or an index.
    ///
    /// - Parameters:
    ///   - bytes: the document.
    ///   - mediaType: what it is.
    ///   - name: its tag or its digest.
    ///   - host: who takes it.
    /// - Returns: whether the registry has noted whose referrer it is.
    /// - Throws: `ContentError` if it is not taken.
    func putManifest(
        _ bytes: [UInt8],
        _ mediaType: MediaType,
        _ name: String,
        at host: RegistryHost
    ) throws(ContentError) -> Bool {
        let object = "manifest \(name)"
        let head = try atHost(host, object) { (deadline) throws(HTTPError) in
            var request = try request(.put, host, "manifests/\(name)")
            request.headers = [HTTPHeader("Content-Type", mediaType.text)]
            request.body = HTTPBody(bytes)
            request.deadline = deadline
            return try answer(to: request, at: host, scopes: scopes("pull,push")).head
        }
        let digest = StreamingDigest.digest(of: bytes)
        if let told = head["docker-content-digest"].flatMap({ Digest(oci: $0) }), told != digest {
            throw .corrupt("\(place): \(object): stored as \(told), expected \(digest)")
        }
        return head["oci-subject"] != nil
    }

    /// Asks one host, as patiently as the policy says.
    func atHost<T>(
        _ host: RegistryHost,
        _ object: String,
        _ body: (_ deadline: UInt64) throws(HTTPError) -> T
    ) throws(ContentError) -> T {
        do throws(HTTPError) {
            return try access.retry.run(body)
        } catch {
            throw contentError(error, object)
        }
    }
}
