// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Glibc
import Linux
import Log
import TestSupport

@testable import ChunkCache

/// A blob of chunks, some of them compressed, with its records.
struct TestBlob {
    let chunks: [Chunk]
    let contents: [[UInt8]]
    let stored: [UInt8]
    let viewSize: UInt64
    let digest: Digest

    /// A blob whose chunks have the sizes; odd ones do not compress.
    init(sizes: [Int], seed: UInt8 = 1) throws {
        var compressor = try ChunkCompressor()
        var chunks: [Chunk] = []
        var contents: [[UInt8]] = []
        var stored: [UInt8] = []
        var place: UInt64 = 0
        for (index, size) in sizes.enumerated() {
            let content = Self.content(
                size,
                isRandom: index % 2 == 1,
                seed &+ UInt8(truncatingIfNeeded: index)
            )
            var frame: [UInt8] = []
            let isCompressed = try compressor.compress(content.rawSpan, into: &frame)
            let bytes = isCompressed ? frame : content
            chunks.append(
                Chunk(
                    digest: StreamingDigest.digest(of: content),
                    compressedOffset: CompressedOffset(UInt64(stored.count)),
                    compressedSize: UInt32(bytes.count),
                    uncompressedOffset: UncompressedOffset(place),
                    uncompressedSize: UInt32(size)
                )
            )
            contents.append(content)
            stored += bytes
            place += UInt64(size).roundedUp(toMultipleOf: Chunk.alignment)
        }
        self.chunks = chunks
        self.contents = contents
        self.stored = stored
        viewSize = place
        digest = StreamingDigest.digest(of: stored)
    }

    private static func content(_ size: Int, isRandom: Bool, _ seed: UInt8) -> [UInt8] {
        var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
        return (0..<size).map { index in
            guard isRandom else { return UInt8(truncatingIfNeeded: index / 100) &+ seed }
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
    }

    private init(_ other: TestBlob, _ chunks: [Chunk], _ contents: [[UInt8]]) {
        self.chunks = chunks
        self.contents = contents
        stored = other.stored
        viewSize = other.viewSize
        digest = other.digest
    }

    /// The same blob with a record that says another content of a chunk than what is stored.
    func replacing(_ index: Int, with content: [UInt8]) -> TestBlob {
        var (chunks, contents) = (chunks, contents)
        chunks[index].digest = StreamingDigest.digest(of: content)
        contents[index] = content
        return TestBlob(self, chunks, contents)
    }

    /// The slice that is a whole chunk.
    func slice(_ index: Int, of blob: CachedBlob, place: Int = 0) -> CachedSlice {
        CachedSlice(
            blob: blob,
            chunk: index,
            start: chunks[index].uncompressedOffset,
            offset: 0,
            count: contents[index].count,
            place: place
        )
    }
}

struct ArrayTable: ChunkTable {
    var chunks: [Chunk]

    var count: Int { chunks.count }

    func chunk(at index: Int) throws(ContentError) -> Chunk {
        guard chunks.indices.contains(index) else { throw .corrupt("no chunk \(index)") }
        return chunks[index]
    }
}

/// A blob source that counts, and does what a test tells it.
final class TestSource: BlobSource {
    enum Behaviour {
        case good
        case failing
        case corrupt
    }

    private struct State {
        var behaviour = Behaviour.good
        var isStalled = false
        /// Where a request begins that does not stall.
        var passing: Int?
        var end = Int.max
        var ranges: [Range<Int>] = []
    }

    private let bytes: [UInt8]
    private let state = Monitor(State())

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var size: UInt64 { UInt64(bytes.count) }
    var ranges: [Range<Int>] { state.update { $0.ranges } }

    func behave(_ behaviour: Behaviour) { state.update { $0.behaviour = behaviour } }
    func stall(_ isStalled: Bool) {
        state.update { state in
            state.isStalled = isStalled
            state.passing = nil
        }
    }

    /// Stalls all requests but those that begin there.
    func stall(allBut start: CompressedOffset) {
        state.update { state in
            state.isStalled = true
            state.passing = Int(start.bytes)
        }
    }

    /// Has the blob end there.
    func cut(at end: Int) { state.update { $0.end = end } }

    /// Waits until so many requests have come.
    func waitForRequests(_ count: Int) {
        _ = state.wait { $0.ranges.count >= count ? true : nil }
    }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let range = Int(offset.bytes)..<Int(offset.bytes) + buffer.count
        let end = state.update { state in
            state.ranges.append(range)
            return state.end
        }
        let behaviour = state.wait { state in
            state.isStalled && state.passing != range.lowerBound ? nil : state.behaviour
        }
        if range.upperBound > end { throw .truncated("the source ends at \(end)") }
        if behaviour == .failing { throw ContentError(.inputOutput, "the source is down") }
        unsafe buffer.copyBytes(from: bytes[range])
        if behaviour == .corrupt { unsafe buffer[buffer.count / 2] ^= 0x10 }
    }
}

/// Waits for the answer of a read.
final class Answer: ReadWaiter {
    private let results = Monitor<[Result<[UInt8], ContentError>]>([])

    func succeed(_ bytes: RawSpan) {
        let copy = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
        results.update { $0.append(.success(copy)) }
    }

    func fail(_ error: ContentError) {
        results.update { $0.append(.failure(error)) }
    }

    /// How many answers have come: one, or something is wrong.
    var count: Int { results.update { $0.count } }

    func wait() -> Result<[UInt8], ContentError> {
        results.wait { $0.first }
    }

    func bytes() throws -> [UInt8] { try wait().get() }

    var error: ContentError? {
        guard case .failure(let error) = wait() else { return nil }
        return error
    }
}

/// A directory for a test, with a cache in it.
final class CacheFixture {
    private let directory = TemporaryDirectory()
    let log: Logger
    var path: String { directory.path }
    var cacheDirectory: String { path + "/cache" }
    var runtimeDirectory: String { path + "/run" }

    init() throws {
        let path = directory.path + "/log"
        let file = try OwnedDescriptor.open(path, O_WRONLY | O_CREAT | O_APPEND)
        log = Logger(level: .info, owning: file.release())
    }

    /// A cache that fetches what it is asked for and nothing else, unless told.
    func cache(
        hasRuntimeBits: Bool = true,
        limits: FetchLimits = FetchLimits(threads: 4, readAhead: ReadAhead(requestBytes: 0)),
        openFiles: Int = 512
    ) throws -> ChunkCache {
        // A program that another test starts has our lock's descriptor until it begins to run.
        for attempt in 0... {
            do {
                return try ChunkCache(
                    directory: cacheDirectory,
                    runtimeDirectory: hasRuntimeBits ? runtimeDirectory : nil,
                    limits: limits,
                    openFiles: openFiles,
                    log: log
                )
            } catch let error as SystemError where error.code == EWOULDBLOCK && attempt < 20 {
                _ = Monitor(0).wait(milliseconds: 50) { _ in Bool?.none }
            }
        }
        preconditionFailure("the loop has no end")
    }

    func open(_ blob: TestBlob, _ cache: ChunkCache, _ source: TestSource) throws -> CachedBlob {
        try cache.open(
            blob.digest,
            key: .zero,
            table: ArrayTable(chunks: blob.chunks),
            coding: .written,
            source: source,
            viewSize: blob.viewSize
        )
    }

    /// Reads a whole chunk, from what is here or by a fetch.
    func read(
        _ index: Int,
        of blob: TestBlob,
        _ cached: CachedBlob,
        _ cache: ChunkCache
    ) throws -> [UInt8] {
        let count = blob.contents[index].count
        let memory = try AnonymousMemory(byteCount: count)
        let isHere = try unsafe cached.readIfPresent(
            chunk: index,
            at: blob.chunks[index].uncompressedOffset,
            from: 0,
            into: memory.bytes
        )
        if isHere { return unsafe Array(memory.bytes) }
        let answer = Answer()
        cache.fetch([blob.slice(index, of: cached)], byteCount: count, for: answer)
        return try answer.bytes()
    }

    var logLines: [String] {
        let bytes = (try? FileSystem.contents(of: path + "/log")) ?? []
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// The only file of that name below a directory.
    func file(_ name: String, below directory: String) throws -> String {
        for entry in try FileSystem.names(inDirectory: directory).sorted() {
            let path = "\(directory)/\(entry)"
            let isDirectory = try FileStatus(path: path).isDirectory
            if entry == name || (name.isEmpty && !isDirectory) { return path }
            if isDirectory { return try file(name, below: path) }
        }
        throw SystemError("find", "\(name) in \(directory)", code: ENOENT)
    }
}
