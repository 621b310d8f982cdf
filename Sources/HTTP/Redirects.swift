// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

extension HTTPClient {
    /// Sends a request that changes nothing, and follows redirects.
    ///
    /// Registries answer a request for a blob with a signed address at a store of objects. What
    /// was meant for the registry (Authorization, its own headers, our certificate) is not sent
    /// there: a secret would be told to a stranger, and stores refuse a request that is authorized
    /// twice. The signed address is used again until shortly before it ends.
    ///
    /// - Parameters:
    ///   - request: what is asked for; one that changes something is sent as it is.
    ///   - send: sends one request.
    /// - Returns: the answer that is no redirect.
    /// - Throws: what `send` throws; `HTTPError` for redirects without end or to nowhere.
    package func following<Answer: HTTPAnswer>(
        _ request: HTTPRequest,
        _ send: (HTTPRequest) throws(HTTPError) -> Answer
    ) throws(HTTPError) -> Answer {
        guard request.method.isSafe else { return try send(request) }
        // A signature is for one method.
        let isKept = request.method == .get
        if isKept,
            let known = locations.find(request.url, now: CurrentProcess.monotonicNanoseconds)
        {
            let answer = try? send(request.redirected(to: known))
            if let answer, !(300...499).contains(answer.head.status) { return answer }
            // It ended early, or the store is gone: the registry knows where to go now.
            locations.drop(request.url)
        }
        var next = request
        for _ in 0...Self.redirectLimit {
            let answer = try send(next)
            guard answer.head.isRedirect else { return answer }
            let target = try next.target(of: answer.head)
            if isKept, next.url == request.url {
                let now = CurrentProcess.monotonicNanoseconds
                if let end = SignedLocations.end(of: target, answer.head, now: now) {
                    locations.keep(request.url, target, until: end)
                }
            }
            next = next.redirected(to: target)
        }
        throw HTTPError(.malformed, "more than \(Self.redirectLimit) redirects").of(request)
    }

    private static var redirectLimit: Int { 10 }
}

extension HTTPRequest {
    /// Where a redirect leads.
    ///
    /// - Throws: `HTTPError` if that is no address of http or https, or the way there is not
    ///   encrypted where the way here was.
    func target(of head: HTTPHead) throws(HTTPError) -> URL {
        guard let target = head["location"].flatMap({ url.resolving($0) }) else {
            throw HTTPError(.malformed, "redirected to no address of http or https").of(self)
        }
        guard target.scheme == "https" || url.scheme == "http" else {
            throw HTTPError(.malformed, "redirected from https to http (\(target))").of(self)
        }
        return target
    }

    /// The same request elsewhere.
    func redirected(to target: URL) -> HTTPRequest {
        var request = self
        request.url = target
        guard target.origin != url.origin else { return request }
        request.authorization = nil
        request.hostHeaders = []
        request.tls.clientCertificate = nil
        request.tls.clientKey = nil
        return request
    }
}

/// Where redirects led, as long as that holds.
final class SignedLocations: Sendable {
    private struct Entry {
        var target: URL
        /// On the monotonic clock, in nanoseconds.
        var end: UInt64
    }

    private let entries = Mutex<[URL: Entry]>([:])

    /// How many are kept; a node mounts hundreds of blobs.
    private static let limit = 4096
    private static let second: UInt64 = 1_000_000_000

    /// Where the address led, if that still holds.
    func find(_ url: URL, now: UInt64) -> URL? {
        entries.withLock { entries in
            guard let entry = entries[url] else { return nil }
            guard now < entry.end else {
                entries[url] = nil
                return nil
            }
            return entry.target
        }
    }

    /// Keeps where an address leads, until the moment.
    func keep(_ url: URL, _ target: URL, until end: UInt64) {
        entries.withLock { entries in
            if entries.count >= Self.limit { entries.removeAll() }
            entries[url] = Entry(target: target, end: end)
        }
    }

    /// Forgets where an address led.
    func drop(_ url: URL) {
        entries.withLock { $0[url] = nil }
    }

    /// Until when a redirect may be relied on; nil if not at all.
    ///
    /// - Parameters:
    ///   - target: where it leads.
    ///   - head: the redirect.
    ///   - now: the moment on the monotonic clock.
    /// - Returns: the moment on the same clock.
    static func end(of target: URL, _ head: HTTPHead, now: UInt64) -> UInt64? {
        if head["cache-control"]?.lowercased().contains("no-store") == true { return nil }
        // The server's clock where it is told: it has made the signature.
        let clock =
            head["date"].flatMap { WallTime.seconds(ofHTTPDate: $0) }
            ?? CurrentProcess.secondsSince1970
        // A redirect that does not say how long it holds is believed for a minute: after that, or
        // with the first 4xx, the registry is asked again.
        let seconds = lifetime(of: target, clock: clock) ?? 60
        guard seconds > 1 else { return nil }
        let margin = min(30, max(1, seconds / 10))
        return now &+ UInt64(clamping: min(seconds - margin, 86_400)) &* second
    }

    /// How many seconds a signed address holds, by the words of those who sign; nil if it does not
    /// say.
    private static func lifetime(of url: URL, clock: Int64) -> Int64? {
        for (start, length) in [("X-Amz-Date", "X-Amz-Expires"), ("X-Goog-Date", "X-Goog-Expires")]
        {
            guard let length = url.queryValue(length).flatMap({ Int64($0) }) else { continue }
            let begin =
                url.queryValue(start).flatMap { WallTime.seconds(ofCompactDate: $0) } ?? clock
            return difference(begin, clock, plus: length)
        }
        // CloudFront, S3's older form, Google's older form, nginx; Azure.
        for name in ["Expires", "expires", "e"] {
            if let end = url.queryValue(name).flatMap({ Int64($0) }) {
                return difference(end, clock, plus: 0)
            }
        }
        guard let end = url.queryValue("se").flatMap({ WallTime.seconds(ofCompactDate: $0) })
        else { return nil }
        return difference(end, clock, plus: 0)
    }

    /// The numbers come from strangers: no sum of them may overflow.
    private static func difference(_ moment: Int64, _ clock: Int64, plus length: Int64) -> Int64 {
        let (difference, isLarge) = moment.subtractingReportingOverflow(clock)
        let (sum, isLarger) = difference.addingReportingOverflow(length)
        return isLarge || isLarger ? 0 : sum
    }
}
