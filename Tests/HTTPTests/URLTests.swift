// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import HTTP

@Suite("Addresses")
struct URLTests {
    @Test func takesAnAddressApart() throws {
        let url = try #require(URL("HTTPS://User:Secret@Host.example:8443/a/../b?x=1&y=%2F#part"))
        #expect(url.scheme == "https")
        #expect(url.host == "host.example")
        #expect(url.port == 8443)
        #expect(url.path == "/b")
        #expect(url.queryValue("y") == "/")
        #expect(url.queryValue("z") == nil)
        #expect(!url.text.contains("Secret"))
        #expect(url.description == "https://host.example:8443/b")
        #expect(try #require(URL("http://[::1]:5000/v2/")).origin == "http://[::1]:5000")
    }

    @Test(arguments: [
        "", "host/path", "ftp://host/", "file:///etc/passwd", "https://", "https://a b/",
        "https://host:99999/", "https://host/\u{0}", "https://host/\r\nHeader: x",
    ])
    func refusesWhatIsNoAddress(text: String) {
        #expect(URL(text) == nil)
    }

    @Test(arguments: [
        ("/c?d", "https://host/c?d"), ("c", "https://host/a/c"), ("//other/x", "https://other/x"),
        ("http://other:1/", "http://other:1/"),
    ])
    func resolvesReferences(reference: String, expected: String) throws {
        let base = try #require(URL("https://host/a/b?q"))
        #expect(base.resolving(reference)?.text == expected)
    }

    @Test func addsToTheQuery() throws {
        let url = try #require(URL("https://host/a?b=c"))
        #expect(url.adding(["ns": "a:5000/ä"])?.text == "https://host/a?b=c&ns=a%3A5000%2F%C3%A4")
        let plain = try #require(URL("https://host/a"))
        #expect(plain.adding(["n": "1"])?.text == "https://host/a?n=1")
    }

    @Test func sendsNoSecretToAnotherHost() throws {
        var request = HTTPRequest(.get, try #require(URL("https://host/a")))
        request.authorization = "Bearer secret"
        request.hostHeaders = [HTTPHeader("X-Key", "secret")]
        request.tls.clientCertificate = "/cert"
        let same = request.redirected(to: try #require(URL("https://host/b")))
        #expect(same.authorization == "Bearer secret")
        for other in ["https://other/a", "https://host:444/a", "http://host/a"] {
            let there = request.redirected(to: try #require(URL(other)))
            #expect(there.authorization == nil)
            #expect(there.hostHeaders.isEmpty)
            #expect(there.tls.clientCertificate == nil)
        }
        #expect(!"\(request)".contains("secret"))
    }

    @Test func refusesToLeaveEncryption() throws {
        let request = HTTPRequest(.get, try #require(URL("https://host/a")))
        let head = HTTPHead(status: 302, headers: [HTTPHeader("location", "http://host/a")])
        #expect(throws: HTTPError.self) { try request.target(of: head) }
    }

    @Test(
        arguments: [
            ("X-Amz-Date=20260131T090507Z&X-Amz-Expires=300", 270),
            ("X-Amz-Date=20260131T090407Z&X-Amz-Expires=70", 9),
            ("Expires=1769850310", 2), ("se=2026-01-31T09%3A06%3A47Z", 90), ("", 54),
            ("X-Amz-Date=20260131T090507Z&X-Amz-Expires=1", nil), ("Expires=5", nil),
            ("Expires=-9223372036854775808", nil),
            ("X-Amz-Date=20260131T090507Z&X-Amz-Expires=9223372036854775807", 86_400),
        ] as [(String, UInt64?)]
    )
    func knowsHowLongASignedAddressHolds(query: String, seconds: UInt64?) throws {
        let target = try #require(URL("https://store/object?\(query)"))
        let head = HTTPHead(
            status: 307,
            headers: [HTTPHeader("date", "Sat, 31 Jan 2026 09:05:07 GMT")]
        )
        let end = SignedLocations.end(of: target, head, now: 1000)
        #expect(end == seconds.map { 1000 + $0 * 1_000_000_000 })
    }

    @Test func readsMoments() {
        #expect(WallTime.seconds(ofCompactDate: "19700101T000000Z") == 0)
        #expect(WallTime.seconds(ofCompactDate: "2026-01-31T09:05:07.5Z") == 1_769_850_307)
        #expect(WallTime.seconds(ofCompactDate: "20240229T000000Z") == 1_709_164_800)
        #expect(WallTime.seconds(ofCompactDate: "2026-01-31") == nil)
    }
}
