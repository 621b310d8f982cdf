// SPDX-License-Identifier: Apache-2.0

import HTTP
import Linux
import Testing

@Suite("HTTP client")
struct HTTPClientTests {
    private let client = HTTPClient(userAgent: "test")

    private func request(
        _ server: CannedServer,
        _ path: String = "/",
        range: ClosedRange<UInt64>? = nil
    ) throws -> HTTPRequest {
        let url = try #require(URL("http://127.0.0.1:\(server.port)\(path)"))
        var request = HTTPRequest(.get, url)
        request.range = range
        return request
    }

    private func fetch(
        _ answer: CannedServer.Answer,
        _ range: ClosedRange<UInt64>
    ) throws -> (answer: RangeAnswer, bytes: [UInt8]) {
        let server = try CannedServer { _, _ in answer }
        defer { server.stop() }
        let request = try request(server, range: range)
        var bytes = [UInt8](repeating: 0xee, count: Int(range.count))
        let answer = unsafe bytes.withUnsafeMutableBytes { unsafe client.fetch(request, into: $0) }
        return (answer, bytes)
    }

    @Test func readsADocument() throws {
        let server = try CannedServer { _, _ in
            .init(status: 404, headers: ["X-Key: value"], body: Array("hello".utf8))
        }
        defer { server.stop() }
        var request = try request(server, "/path?query")
        request.authorization = "Basic c2VjcmV0"
        request.headers = [HTTPHeader("Accept", "text/plain")]
        let response = try client.send(request)
        #expect(response.head.status == 404)
        #expect(response.head["x-key"] == "value")
        #expect(response.body == Array("hello".utf8))
        let sent = try #require(server.requests.first)
        #expect(sent.hasPrefix("GET /path?query HTTP/1.1\r\n"))
        #expect(sent.contains("\r\nAuthorization: Basic c2VjcmV0\r\n"))
        #expect(sent.contains("\r\nAccept: text/plain\r\n"))
        #expect(sent.contains("\r\nUser-Agent: test\r\n"))
        #expect(!response.head.error(request).description.contains("query"))
    }

    @Test func refusesALargerDocument() throws {
        let server = try CannedServer { _, _ in
            .init(status: 200, body: [UInt8](repeating: 0, count: 11))
        }
        defer { server.stop() }
        let request = try request(server)
        #expect(try client.send(request, limit: 11).body.count == 11)
        let error = #expect(throws: HTTPError.self) { try client.send(request, limit: 10) }
        #expect(error?.kind == .tooLarge)
    }

    @Test func sendsABody() throws {
        let server = try CannedServer { _, _ in .init(status: 201) }
        defer { server.stop() }
        for method in [HTTPRequest.Method.put, .post, .patch] {
            var request = try request(server)
            request.method = method
            request.body = HTTPBody([])
            #expect(try client.send(request).head.status == 201)
        }
        for (line, method) in zip(server.requests, ["PUT", "POST", "PATCH"]) {
            #expect(line.hasPrefix("\(method) / "))
            #expect(line.contains("\r\nContent-Length: 0\r\n"))
            #expect(!line.contains("Content-Type"))
        }
    }

    @Test func refusesAHeaderWithALineEnd() throws {
        let server = try CannedServer { _, _ in .init(status: 200) }
        defer { server.stop() }
        var request = try request(server)
        request.headers = [HTTPHeader("A", "b\r\nC: d")]
        let error = #expect(throws: HTTPError.self) { try client.send(request) }
        #expect(error?.kind == .invalidRequest)
        #expect(server.requests.isEmpty)
    }

    @Test func fetchesARange() throws {
        let answer = CannedServer.Answer(
            status: 206,
            headers: ["Content-Range: bytes 3-5/9"],
            body: [3, 4, 5]
        )
        let (result, bytes) = try fetch(answer, 3...5)
        #expect(result.error == nil)
        #expect(bytes == [3, 4, 5])
    }

    @Test func keepsTheBytesBeforeAReset() throws {
        var answer = CannedServer.Answer(
            "HTTP/1.1 206 -\r\nContent-Length: 4\r\nContent-Range: bytes 0-3/9\r\n\r\n"
        )
        answer.pieces.append([0, 1, 2])
        answer.pause = 50
        let (result, bytes) = try fetch(answer, 0...3)
        #expect(result.error?.kind == .interrupted)
        #expect(result.error?.isRetryable == true)
        #expect(result.received == 3)
        #expect(bytes == [0, 1, 2, 0xee])
    }

    @Test func refusesARangeThatWasNotAskedFor() throws {
        for (headers, body, kind) in [
            (["Content-Range: bytes 1-3/9"], [1, 2, 3], HTTPError.Kind.malformed),
            ([], [0, 1, 2], .malformed),
            (["Content-Range: bytes 0-3/9"], [0, 1, 2, 3], .malformed),
            (["Content-Range: bytes 0-1/9"], [0, 1], .interrupted),
        ] as [([String], [UInt8], HTTPError.Kind)] {
            let (result, _) = try fetch(.init(status: 206, headers: headers, body: body), 0...2)
            #expect(result.error?.kind == kind, "\(headers) \(body)")
        }
        let (whole, _) = try fetch(.init(status: 200, body: [0, 1, 2]), 0...2)
        #expect(whole.error?.kind == .rangeIgnored)
        let (failed, _) = try fetch(.init(status: 503, body: Array("busy".utf8)), 0...2)
        #expect(failed.error == nil)
        #expect(failed.head.status == 503)
        #expect(failed.errorBody() == Array("busy".utf8))
    }

    @Test func holdsTheSenderBackWhileNobodyReads() throws {
        let body = (0..<(24 << 20)).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let server = try CannedServer { _, _ in .init(status: 200, body: body) }
        defer { server.stop() }
        let stream = try client.open(try request(server))
        CurrentProcess.sleep(nanoseconds: 100_000_000)
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 300_001)
        while true {
            let count = try unsafe buffer.withUnsafeMutableBytes {
                try unsafe stream.read(into: $0)
            }
            guard count > 0 else { break }
            result += buffer[..<count]
        }
        #expect(result == body)
        // A stream that is dropped ends, and so does its connection.
        _ = try client.open(try request(server))
        #expect(try client.send(try request(server), limit: 32 << 20).body.count == body.count)
    }

    @Test func endsWhenTheOtherSideGoesSilent() throws {
        var answer = CannedServer.Answer("HTTP/1.1 200 -\r\nContent-Length: 9\r\n\r\nabc")
        answer.pieces.append([0])
        answer.pause = 5000
        let server = try CannedServer { [answer] _, _ in answer }
        defer { server.stop() }
        var request = try request(server)
        request.deadline = CurrentProcess.monotonicNanoseconds + 300_000_000
        let start = CurrentProcess.monotonicNanoseconds
        let error = #expect(throws: HTTPError.self) { try client.send(request) }
        #expect(error?.kind == .timeout)
        #expect(CurrentProcess.monotonicNanoseconds - start < 3_000_000_000)
    }

    @Test func saysWhoCannotBeReached() throws {
        let server = try CannedServer { _, _ in .init(status: 200) }
        let request = try request(server)
        server.stop()
        let error = #expect(throws: HTTPError.self) { try client.send(request) }
        #expect(error?.kind == .unreachable)
        #expect(error?.description.hasPrefix("GET \(request.url): Failed to connect") == true)
        let other = HTTPRequest(.get, try #require(URL("http://no-such-host.invalid/")))
        let unknown = #expect(throws: HTTPError.self) { try client.send(other) }
        #expect(unknown?.kind == .unknownHost)
    }

    @Test func followsRedirectsAndRemembersThem() throws {
        let store = try CannedServer { request, number in
            // The second request meets an address that has ended.
            number == 2 ? .init(status: 403) : .init(status: 200, body: Array(request.utf8))
        }
        defer { store.stop() }
        let port = store.port
        let registry = try CannedServer { _, _ in
            .init(status: 307, headers: ["Location: http://127.0.0.1:\(port)/signed?Key=1"])
        }
        defer { registry.stop() }
        var request = try request(registry, "/blob")
        request.authorization = "Bearer secret"
        for _ in 1...3 {
            let answer = try client.following(request) { (request) throws(HTTPError) in
                try client.send(request)
            }
            #expect(answer.head.status == 200)
        }
        #expect(registry.requests.count == 2)
        #expect(store.requests.count == 4)
        #expect(store.requests.allSatisfy { !$0.contains("secret") })
        #expect(registry.requests.allSatisfy { $0.contains("Bearer secret") })
    }

    @Test func endsAfterTooManyRedirects() throws {
        let server = try CannedServer { _, _ in .init(status: 302, headers: ["Location: /again"]) }
        defer { server.stop() }
        let request = try request(server, "/start")
        let error = #expect(throws: HTTPError.self) {
            try client.following(request) { (request) throws(HTTPError) in
                try client.send(request)
            }
        }
        #expect(error?.kind == .malformed)
        #expect(server.requests.count == 11)
    }

    @Test func servesManyThreadsAtOnce() throws {
        let server = try CannedServer { request, _ in
            .init(
                status: 200,
                body: Array((request.split(separator: " ").dropFirst().first ?? "").utf8)
            )
        }
        defer { server.stop() }
        let client = client
        let port = server.port
        let bodies = try inParallel(200, threads: 16, name: "test") { index in
            let url = try #require(URL("http://127.0.0.1:\(port)/\(index)"))
            return try client.send(HTTPRequest(.get, url)).body
        }
        #expect(bodies == (0..<200).map { Array("/\($0)".utf8) })
    }
}
