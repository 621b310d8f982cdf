// SPDX-License-Identifier: Apache-2.0

import Compression
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
            guard let head = try head("blobs/\(blob.digest)", at: host, deadline: deadline) else {
                return false
            }
            return head["content-length"].map { $0 == "\(blob.size)" } ?? true
        }
    }

    /// Opens a blob at a position.
    ///
    /// - Parameters:
    ///   - blob: names it.
    ///   - position: the first byte wanted, at most its size.
    ///   - policy: how patiently.
    /// - Returns: the bytes, from the position on, and the number of the host that sends them.
    /// - Throws: `ContentError` if there is no such blob, or it has another size.
    func openBlob(
        _ blob: Descriptor,
        at position: UInt64,
        policy: RetryPolicy
    ) throws(ContentError) -> (stream: HTTPResponseStream, host: Int) {
        let all = try hosts()
        return try ask(
            .pull,
            "blob \(blob.digest)",
            policy: policy,
            passingOver: all.filter { isDistrusted($0, blob.digest) }
        ) { (host, _) throws(HTTPError) in
            var request = try request(.get, host, "blobs/\(blob.digest)")
            request.stallSeconds = policy.stallSeconds
            if position > 0, position < blob.size { request.range = position...(blob.size - 1) }
            let stream = try exchange(request, at: host, scopes: scopes("pull")) {
                (request) throws(HTTPError) in try access.http.open(request)
            }
            try Self.check(stream, request, blob, position)
            // Whoever does not know ranges begins again.
            if stream.head.status != 206 { try Self.skip(position, of: stream, request) }
            return (stream, all.firstIndex(of: host) ?? 0)
        }
    }

    /// Fetches a blob that fits into memory; where it is not what its digest says, the next host is
    /// asked.
    ///
    /// - Parameter blob: names it; of at most `smallSize` bytes.
    /// - Returns: its bytes, verified.
    /// - Throws: `ContentError` if no host has it as it should be.
    func smallBlob(_ blob: Descriptor) throws(ContentError) -> [UInt8] {
        let all = try hosts()
        return try ask(
            .pull,
            "blob \(blob.digest)",
            passingOver: all.filter { isDistrusted($0, blob.digest) }
        ) { (host, deadline) throws(HTTPError) in
            var request = try request(.get, host, "blobs/\(blob.digest)")
            request.deadline = deadline
            let body = try answer(
                to: request,
                at: host,
                scopes: scopes("pull"),
                limit: Int(Self.smallSize)
            ).body
            let found = StreamingDigest.digest(of: body)
            guard found == blob.digest else {
                throw HTTPError(
                    .malformed,
                    "digest mismatch: expected \(blob.digest), found \(found)",
                    request: "\(request)"
                )
            }
            return body
        }
    }

    /// Blobs of at most so many bytes are verified before anything is done with them.
    static var smallSize: UInt64 { 1 << 20 }

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
    /// - Throws: `ContentError` if the bytes cannot be had.
    /// - Returns: who served them; nil if only the whole blob is to be had.
    func fetch(
        _ blob: Descriptor,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? {
        var range = unsafe BlobRange(blob: blob, offset: offset, buffer: buffer)
        while true {
            let attempt: RangeAttempt
            do throws(ContentError) {
                attempt = try fetch(&range)
            } catch {
                // A mirror that sends the whole is better than none.
                guard error.kind == .inputOutput, try hasRangelessMirror(of: blob),
                    let last = try hosts(.pull).last
                else { throw error }
                setPause(last)
                return nil
            }
            switch attempt {
            case .served: return range.servers
            case .isWhole: return nil
            case .hasLearned: continue
            }
        }
    }

    /// What came of asking all hosts for a range.
    private enum RangeAttempt {
        case served
        /// Nobody who could be asked gives ranges.
        case isWhole
        /// A mirror turned out to give none: the others are to be asked.
        case hasLearned
    }

    private static func isServed(_ attempt: RangeAttempt) -> Bool { attempt == .served }

    private func fetch(_ range: inout BlobRange) throws(ContentError) -> RangeAttempt {
        let blob = range.blob
        let all = try hosts()
        let last = try hosts(.pull).last
        let hasFallback = try hasRangelessMirror(of: blob)
        if hasFallback, let last, isPaused(last) { return .isWhole }
        return try ask(
            .pull,
            range.description,
            policy: hasFallback
                ? RetryPolicy(attempts: 2, duration: access.reads.duration) : access.reads,
            passingOver: all.filter { isDistrusted($0, blob.digest) || access.isRangeless($0) },
            isServed: Self.isServed
        ) { (host, deadline) throws(HTTPError) -> RangeAttempt in
            if access.isRangeless(host) { return .isWhole }
            do throws(HTTPError) {
                try fetch(&range, at: host, all.firstIndex(of: host) ?? 0, deadline)
                return .served
            } catch {
                if error.kind == .status(404), host != last {
                    noteAbsence(of: blob.digest, at: host)
                }
                guard error.kind == .rangeIgnored else { throw error }
                access.noteRangeless(host)
                return host == last ? .isWhole : .hasLearned
            }
        }
    }

    /// Whether a mirror that ignores ranges may be asked for a blob.
    private func hasRangelessMirror(of blob: Descriptor) throws(ContentError) -> Bool {
        try hosts(.pull).dropLast().contains { host in
            access.isRangeless(host) && !isPaused(host) && !isDistrusted(host, blob.digest)
        }
    }

    /// Asks one host for what is not here yet of a range.
    private func fetch(
        _ range: inout BlobRange,
        at host: RegistryHost,
        _ number: Int,
        _ deadline: UInt64
    ) throws(HTTPError) {
        var request = try request(.get, host, "blobs/\(range.blob.digest)")
        request.deadline = deadline
        request.stallSeconds = 10
        let first = range.offset + UInt64(range.done)
        request.range = unsafe first...(range.offset + UInt64(range.buffer.count) - 1)
        let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: range.buffer[range.done...])
        do throws(HTTPError) {
            _ = try exchange(request, at: host, scopes: scopes("pull")) {
                (request) throws(HTTPError) -> RangeAnswer in
                let answer = unsafe access.http.fetch(request, into: rest)
                if answer.received > 0 { range.servers.insert(number) }
                guard let error = answer.error else { return answer }
                range.done = Int(first - range.offset) + answer.received
                throw error
            }
        } catch {
            // All of it may be here by now, though the connection broke in the end.
            guard unsafe range.done == range.buffer.count else { throw error }
        }
    }
}

/// A range of a blob on its way: what came before a failure is not asked for again.
@safe
private struct BlobRange: CustomStringConvertible {
    let blob: Descriptor
    let offset: UInt64
    let buffer: UnsafeMutableRawBufferPointer
    /// How many bytes are here.
    var done = 0
    /// Who sent them.
    var servers = BlobServers()

    init(blob: Descriptor, offset: UInt64, buffer: UnsafeMutableRawBufferPointer) {
        self.blob = blob
        self.offset = offset
        unsafe self.buffer = buffer
    }

    var description: String {
        let end = unsafe offset + UInt64(buffer.count)
        return "blob \(blob.digest) bytes \(offset)-\(end - 1)"
    }
}
