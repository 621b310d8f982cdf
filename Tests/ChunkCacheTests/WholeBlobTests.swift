// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Testing

@testable import ChunkCache

@Suite("Whole blobs and wrong servers", .timeLimit(.minutes(5)))
struct WholeBlobTests {
    private let fixture: CacheFixture
    private let blob: TestBlob

    init() throws {
        fixture = try CacheFixture()
        blob = try TestBlob(sizes: [10_000, 5_000, 4_096, 1, 70_000, 1_000_000, 20])
    }

    private func open(_ source: WholeSource, _ cache: ChunkCache) throws -> CachedBlob {
        try cache.open(
            blob.digest,
            key: .zero,
            table: ArrayTable(chunks: blob.chunks),
            coding: .written,
            source: source,
            viewSize: blob.viewSize
        )
    }

    /// Waits until a chunk is here that nobody asked for.
    private func waitForChunk(_ index: Int, of cached: CachedBlob) {
        while !cached.backing.contains(index) { CurrentProcess.sleep(nanoseconds: 1_000_000) }
    }

    @Test func allThatPassesIsKept() throws {
        let source = WholeSource(blob.stored)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        #expect(try fixture.read(4, of: blob, cached, cache) == blob.contents[4])
        waitForChunk(6, of: cached)
        for index in blob.chunks.indices {
            #expect(try fixture.read(index, of: blob, cached, cache) == blob.contents[index])
        }
        #expect(source.openings == 1)
        #expect(cache.statistics.fetchedBytes == blob.stored.count)
        #expect(cache.statistics.fetches == 1)
    }

    @Test func readsOfAllChunksWaitForOnePass() throws {
        let source = WholeSource(blob.stored)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        source.hold(at: 100)
        let answers = blob.chunks.indices.map { _ in Answer() }
        for (index, answer) in answers.enumerated() {
            let slice = blob.slice(index, of: cached)
            cache.fetch([slice], byteCount: slice.count, for: answer)
        }
        source.hold(at: nil)
        for (index, answer) in answers.enumerated() {
            #expect(try answer.bytes() == blob.contents[index])
        }
        // One that was asked for too late may have made it pass again, but no more than that.
        #expect(source.openings <= 2)
        #expect(answers.allSatisfy { $0.count == 1 })
    }

    @Test func aStreamThatBreaksFailsTheReadsAndTheNextBeginsAnew() throws {
        let source = WholeSource(blob.stored)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        source.cut(at: blob.stored.count / 2)
        let answer = Answer()
        cache.fetch([blob.slice(6, of: cached)], byteCount: 20, for: answer)
        #expect(answer.error?.kind == .inputOutput)
        #expect(fixture.logLines.contains { $0.contains("fetch failed") })
        // What had passed is here.
        #expect(cached.backing.contains(0))
        source.cut(at: nil)
        CurrentProcess.sleep(nanoseconds: RecentFailures.lifetime)
        #expect(try fixture.read(6, of: blob, cached, cache) == blob.contents[6])
        #expect(source.openings == 2)
    }

    @Test func closingEndsAPass() throws {
        let source = WholeSource(blob.stored)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        source.hold(at: 100)
        let answer = Answer()
        cache.fetch([blob.slice(4, of: cached)], byteCount: 70_000, for: answer)
        source.waitForOpening()
        let threads = ThreadGroup()
        try threads.start(name: "closer") { cache.close() }
        source.hold(at: nil)
        threads.wait()
        _ = answer.wait()
        #expect(answer.count == 1)
    }

    @Test(arguments: [true, false])
    func whatOneServerSendsWrongTheNextIsAskedFor(isWhole: Bool) throws {
        let source = WholeSource(blob.stored, hasRanges: !isWhole, wrongServers: 2)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        for index in blob.chunks.indices {
            #expect(try fixture.read(index, of: blob, cached, cache) == blob.contents[index])
        }
        #expect(source.distrusted == [0, 1])
        #expect(cache.statistics.failures == 0)
    }

    @Test(arguments: [true, false])
    func wrongBytesFromEverywhereAreAnError(isWhole: Bool) throws {
        let source = WholeSource(blob.stored, hasRanges: !isWhole, wrongServers: 3)
        let cache = try fixture.cache()
        let cached = try open(source, cache)
        let answer = Answer()
        cache.fetch([blob.slice(1, of: cached)], byteCount: 5_000, for: answer)
        #expect(answer.error?.kind == .corrupt)
        #expect(!cached.backing.contains(1))
        #expect(source.distrusted == [0, 1, 2])
    }
}

/// A blob on three servers, the first of which send wrong bytes, with ranges or without.
private final class WholeSource: BlobSource {
    private struct State {
        var openings = 0
        var distrusted: [Int] = []
        var held: Int?
        var end: Int?
    }

    private let bytes: [UInt8]
    private let hasRanges: Bool
    private let wrongServers: Int
    private let state = Monitor(State())

    init(_ bytes: [UInt8], hasRanges: Bool = false, wrongServers: Int = 0) {
        self.bytes = bytes
        self.hasRanges = hasRanges
        self.wrongServers = wrongServers
    }

    var size: UInt64 { UInt64(bytes.count) }
    var openings: Int { state.update { $0.openings } }
    var distrusted: [Int] { state.update { $0.distrusted } }

    /// Lets nothing pass behind a byte; nil lets everything.
    func hold(at place: Int?) { state.update { $0.held = place } }

    /// Breaks the stream there.
    func cut(at end: Int?) { state.update { $0.end = end } }

    func waitForOpening() { _ = state.wait { $0.openings > 0 ? true : nil } }

    /// The first server that is still asked; the last is asked always.
    private var server: Int {
        state.update { state in (0..<2).first { !state.distrusted.contains($0) } ?? 2 }
    }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        throw .unsupported("a cache has no use for this")
    }

    func fetchRange(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? {
        guard hasRanges else { return nil }
        var servers = BlobServers()
        servers.insert(server)
        unsafe buffer.copyBytes(from: bytes[Int(offset.bytes)...].prefix(buffer.count))
        if servers.numbers[0] < wrongServers { unsafe buffer[buffer.count / 2] ^= 1 }
        return servers
    }

    func openWhole() throws(ContentError) -> any WholeBlob {
        let server = server
        state.update { $0.openings += 1 }
        return Passing(self, server: server)
    }

    func distrust(_ servers: BlobServers, because cause: ContentError) -> Bool {
        state.update { state in
            for number in servers.numbers where !state.distrusted.contains(number) {
                state.distrusted.append(number)
            }
            return servers.numbers.contains { $0 < 2 }
        }
    }

    private final class Passing: WholeBlob {
        private let source: WholeSource
        private let server: Int
        private var position = 0

        init(_ source: WholeSource, server: Int) {
            self.source = source
            self.server = server
        }

        var servers: BlobServers {
            var servers = BlobServers()
            servers.insert(server)
            return servers
        }

        func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
            let place = position
            let end = source.state.wait { state -> Int?? in
                place >= state.held ?? .max ? nil : .some(state.end)
            }
            if let end, place >= end { throw ContentError(.inputOutput, "the stream broke") }
            let rest = source.bytes[place...].prefix(min(buffer.count, 1_000))
            unsafe buffer.copyBytes(from: rest)
            if server < source.wrongServers, !rest.isEmpty { unsafe buffer[rest.count / 2] ^= 1 }
            position += rest.count
            return rest.count
        }
    }
}
