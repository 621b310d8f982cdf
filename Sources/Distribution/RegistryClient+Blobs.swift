// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import OCI

extension RegistryClient {
    /// Whether a host has a blob.
    ///
    /// - Parameters:
    ///   - blob: names it.
    ///   - host: where it would be.
    /// - Returns: whether it is there, with that size.
    /// - Throws: `ContentError` if that cannot be found out.
    func hasBlob(_ blob: Descriptor, at host: RegistryHost) throws(ContentError) -> Bool {
        try atHost(host, "blob \(blob.digest)") { (deadline) throws(HTTPError) in
            var request = try request(.head, host, "blobs/\(blob.digest)")
            request.deadline = deadline
            let response = try exchange(
                request,
                at: host,
                scopes: scopes("pull,push"),
                expecting: [404]
            ) { (request) throws(HTTPError) in try access.http.send(request) }
            guard response.head.isSuccess else { return false }
            return response.head["content-length"].map { $0 == "\(blob.size)" } ?? true
        }
    }

    /// Opens a blob at a position.
    ///
    /// - Parameters:
    ///   - blob: names it.
    ///   - position: the first byte wanted, at most its size.
    ///   - policy: how patiently.
    /// - Returns: the bytes, from the position on.
    /// - Throws: `ContentError` if there is no such blob, or it has another size.
    func openBlob(
        _ blob: Descriptor,
        at position: UInt64,
        policy: RetryPolicy
    ) throws(ContentError) -> HTTPResponseStream {
        try ask(.pull, "blob \(blob.digest)", policy: policy) {
            (host, _) throws(HTTPError) in
            var request = try request(.get, host, "blobs/\(blob.digest)")
            if position > 0, position < blob.size { request.range = position...(blob.size - 1) }
            let stream = try exchange(request, at: host, scopes: scopes("pull")) {
                (request) throws(HTTPError) in try access.http.open(request)
            }
            try Self.check(stream, request, blob, position)
            // Whoever does not know ranges begins again.
            if stream.head.status != 206 { try Self.skip(position, of: stream, request) }
            return stream
        }
    }

    private static func check(
        _ stream: HTTPResponseStream,
        _ request: HTTPRequest,
        _ blob: Descriptor,
        _ position: UInt64
    ) throws(HTTPError) {
        let head = stream.head
        if head.status == 206 {
            let first = head["content-range"].flatMap { ContentRange($0) }?.first
            guard first == request.range?.lowerBound, first != nil else {
                throw HTTPError(.malformed, "another range than asked for", request: "\(request)")
            }
            return
        }
        guard let size = head["content-length"].flatMap({ UInt64($0) }), size != blob.size else {
            return
        }
        throw HTTPError(
            .malformed,
            "expected \(blob.size) bytes, found \(size)",
            request: "\(request)"
        )
    }

    private static func skip(
        _ count: UInt64,
        of stream: HTTPResponseStream,
        _ request: HTTPRequest
    ) throws(HTTPError) {
        guard count > 0 else { return }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { unsafe buffer.deallocate() }
        var rest = count
        while rest > 0 {
            let wanted = Int(min(rest, UInt64(buffer.count)))
            let read = try unsafe stream.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            )
            guard read > 0 else {
                throw HTTPError(.interrupted, "the blob ends early", request: "\(request)")
            }
            rest -= UInt64(read)
        }
    }

    /// Fetches a range of a blob.
    ///
    /// - Parameters:
    ///   - blob: names it.
    ///   - offset: the first byte.
    ///   - buffer: filled; not empty, and within the blob.
    /// - Throws: `ContentError` if the bytes cannot be had; `HTTPError` is not thrown.
    /// - Returns: false if all hosts send the whole blob instead.
    func fetch(
        _ blob: Descriptor,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Bool {
        let object = "blob \(blob.digest) bytes \(offset)-\(offset + UInt64(buffer.count) - 1)"
        // What came before a failure is not asked for again.
        var done = 0
        return try ask(.pull, object, policy: access.reads) {
            (host, deadline) throws(HTTPError) -> Bool in
            var request = try request(.get, host, "blobs/\(blob.digest)")
            request.deadline = deadline
            request.stallSeconds = 10
            let first = offset + UInt64(done)
            request.range = first...(offset + UInt64(buffer.count) - 1)
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            do throws(HTTPError) {
                _ = try exchange(request, at: host, scopes: scopes("pull")) {
                    (request) throws(HTTPError) -> RangeAnswer in
                    let answer = unsafe access.http.fetch(request, into: rest)
                    guard let error = answer.error else { return answer }
                    done = Int(first - offset) + answer.received
                    throw error
                }
            } catch {
                // All of it may be here by now, though the connection broke in the end.
                if done == buffer.count { return true }
                guard error.kind == .rangeIgnored else { throw error }
                return false
            }
            return true
        }
    }
}
