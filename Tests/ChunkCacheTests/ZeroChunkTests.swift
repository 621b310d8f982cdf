// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Testing

@testable import ChunkCache

@Suite("Chunks of zeros", .timeLimit(.minutes(5)))
struct ZeroChunkTests {
    private let fixture: CacheFixture
    private let noise: TestBlob

    init() throws {
        fixture = try CacheFixture()
        noise = try TestBlob(sizes: [8192, 4096, 4096])
    }

    /// A chunk whose record names the digest of so many zeros.
    private func record(
        of digestedBytes: Int,
        size: UInt32,
        storedSize: UInt32,
        by digester: Digester = .sha256
    ) -> Chunk {
        let zeros = [UInt8](repeating: 0, count: digestedBytes)
        return Chunk(
            digest: digester.digest(of: zeros.rawSpan),
            compressedOffset: CompressedOffset(0),
            compressedSize: storedSize,
            uncompressedOffset: UncompressedOffset(0),
            uncompressedSize: size
        )
    }

    @Test(arguments: [Digester.sha256, .blake3])
    func theDigestTells(digester: Digester) {
        let coding = ChunkCoding(compressor: .zstd, digester: digester)
        let other = ChunkCoding(
            compressor: .zstd,
            digester: digester == .sha256 ? .blake3 : .sha256
        )
        let zeros = ZeroDigests()
        for (size, storedSize) in [(4096, 4096), (1 << 20, 60), (1 << 20, 4200), (700, 20), (5, 5)]
        {
            let chunk = record(
                of: size,
                size: UInt32(size),
                storedSize: UInt32(storedSize),
                by: digester
            )
            #expect(zeros.describe(chunk, coding), "\(size) stored as \(storedSize)")
            #expect(!zeros.describe(chunk, other))
            var longer = chunk
            longer.uncompressedSize += 1
            #expect(!zeros.describe(longer, coding))
            var unnamed = chunk
            unnamed.digest = .zero
            #expect(!zeros.describe(unnamed, coding))
        }
        // Zeros are never stored like this: nothing is computed for it.
        let large = record(of: 1 << 20, size: 1 << 20, storedSize: 500_000, by: digester)
        #expect(!zeros.describe(large, coding))
    }

    @Test func manySizesAreNoHarm() {
        let zeros = ZeroDigests()
        for size in 1...1000 {
            let chunk = record(of: size, size: UInt32(size), storedSize: 10)
            #expect(zeros.describe(chunk, .written), "\(size)")
        }
    }

    /// The noise's second chunk, whose record says that it is zeros.
    private func blobWithZeros() -> TestBlob {
        noise.replacing(1, with: [UInt8](repeating: 0, count: 4096))
    }

    @Test func theyAreReadWithoutAFetch() throws {
        let blob = blobWithZeros()
        let source = TestSource(blob.stored)
        source.behave(.failing)
        for _ in 0..<2 {
            // The second time the bit is there already.
            let cache = try fixture.cache()
            let cached = try fixture.open(blob, cache, source)
            #expect(try fixture.read(1, of: blob, cached, cache) == blob.contents[1])
            #expect(try fixture.read(1, of: blob, cached, cache) == blob.contents[1])
            #expect(source.ranges.isEmpty)
            #expect(cache.statistics.failures == 0)
            cache.close(cached)
            cache.close()
        }
    }

    @Test func theyAreKnownAsHoles() throws {
        let blob = blobWithZeros()
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, TestSource(blob.stored))
        let place = blob.chunks[1].uncompressedOffset
        #expect(cached.isZero(chunk: 1, at: place, byteCount: 4096))
        // Not where a read would fail, or of a size that the file does not have.
        #expect(!cached.isZero(chunk: 1, at: UncompressedOffset(0), byteCount: 4096))
        #expect(!cached.isZero(chunk: 1, at: place, byteCount: 4095))
        #expect(!cached.isZero(chunk: 3, at: place, byteCount: 4096))
        #expect(!cached.isZero(chunk: -1, at: place, byteCount: 4096))
        #expect(!cached.isZero(chunk: 2, at: blob.chunks[2].uncompressedOffset, byteCount: 4096))
    }

    @Test func aReadOfZerosAndOthersFetchesTheOthers() throws {
        let blob = blobWithZeros()
        let source = TestSource(blob.stored)
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        let answer = Answer()
        let slices = [
            blob.slice(0, of: cached), blob.slice(1, of: cached, place: 8192),
            blob.slice(2, of: cached, place: 12_288),
        ]
        cache.fetch(slices, byteCount: 16_384, for: answer)
        #expect(try answer.bytes() == blob.contents[0] + blob.contents[1] + blob.contents[2])
        #expect(source.ranges.count == 2)
    }
}
