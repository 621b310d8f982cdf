// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import OCI

/// Lists that come in pages (RFC 8288 links, as the distribution specification wants them).
extension RegistryClient {
    /// The most pages of a list, which may go round in circles.
    private static let pageLimit = 100
    /// How many tags a message names.
    private static let namedTags = 8

    /// Asks for a list, page after page.
    ///
    /// - Parameters:
    ///   - path: where it begins, in the repository.
    ///   - object: what it is, for messages.
    ///   - query: goes with the first request; later ones go where the page before says.
    ///   - headers: of each request.
    ///   - expected: statuses that say that there is no such list.
    ///   - policy: how patiently; nil for the usual way.
    ///   - body: takes each page.
    /// - Returns: false if there is no such list.
    /// - Throws: `ContentError` if a page cannot be had, or there are too many; what the body throws.
    func forEachPage(
        of path: String,
        _ object: String,
        query: KeyValuePairs<String, String> = [:],
        accepting headers: [HTTPHeader] = [],
        expecting expected: [Int] = [],
        policy: RetryPolicy? = nil,
        _ body: (HTTPResponse) throws(ContentError) -> Void
    ) throws(ContentError) -> Bool {
        var next: String?
        for _ in 0..<Self.pageLimit {
            let page = try ask(.pull, object, policy: policy) {
                (host, deadline) throws(HTTPError) in
                var request = try request(.get, host, path, query: query)
                if let link = next {
                    guard let url = request.url.resolving(link),
                        url.origin == request.url.origin
                    else { throw HTTPError(.malformed, "a next page on another host") }
                    request.url = url
                }
                request.headers = headers
                request.deadline = deadline
                return try answer(
                    to: request,
                    at: host,
                    scopes: scopes("pull"),
                    expecting: expected,
                    limit: JSONValue.documentLimit
                )
            }
            guard page.head.isSuccess else { return false }
            try body(page)
            guard let link = page.head["link"].flatMap(Self.nextPage) else { return true }
            next = link
        }
        throw ContentError(.limitExceeded, "\(place): \(object): over \(Self.pageLimit) pages")
    }

    /// `<address>; rel="next"`.
    static func nextPage(_ link: String) -> String? {
        let parts = link.split(separator: ";").map { $0.drop { $0 == " " } }
        guard let target = parts.first, target.hasPrefix("<"), target.hasSuffix(">"),
            parts.dropFirst().contains(where: { $0 == "rel=\"next\"" || $0 == "rel=next" })
        else { return nil }
        return String(target.dropFirst().dropLast())
    }

    /// An error about a tag that is not there, with those that are.
    ///
    /// - Parameter absence: that the tag is not there.
    /// - Returns: the same error where the registry does not tell, or has none.
    func namingTags(_ absence: ContentError) -> ContentError {
        var tags: [String] = []
        let once = RetryPolicy(attempts: 1, duration: access.retry.duration)
        do throws(ContentError) {
            _ = try forEachPage(of: "tags/list", "tags", expecting: [404], policy: once) {
                page throws(ContentError) in
                let list = try JSONValue(parsing: page.body, document: "tags")["tags"]
                guard case .array(let names)? = list else { return }
                // Only what is a tag: the words are somebody else's. Lists of referrers are none.
                tags += names.compactMap(\.text).filter { name in
                    ImageName.isTag(name) && !name.hasPrefix("sha256-")
                }
            }
        } catch {
            // That the tag is not there is known, whatever the trouble with the list is.
            return absence
        }
        guard !tags.isEmpty else { return absence }
        var named = absence
        let more = tags.count > Self.namedTags ? " and \(tags.count - Self.namedTags) more" : ""
        let words = tags.sorted().prefix(Self.namedTags).joined(separator: ", ")
        named.message += "; there are the tags \(words)\(more)"
        return named
    }
}
