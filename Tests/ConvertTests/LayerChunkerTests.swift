// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import RAFS
import TestSupport
import Testing

@testable import Convert

@Suite("Layer chunker")
struct LayerChunkerTests {
    private typealias Result = (blob: [UInt8], chunks: [Chunk], files: [[UInt32]])

    /// The blob of files, cut and compressed by that many workers.
    private func blob(
        _ files: [[UInt8]],
        threads: Int,
        running: Int,
        chunkSize: Int = 4096
    ) throws -> Result {
        try ChunkWorkers.run(threads: threads, level: 3) { workers in
            var chunker = LayerChunker(
                output: BlobWriter(
                    to: ArraySink(),
                    chunkSize: UInt32(chunkSize),
                    compressor: .zstd
                ),
                workers: workers,
                chunkSize: chunkSize,
                runningLimit: running,
                pieceLimit: 1 << 20,
                meter: LayerProgressMeter([]) { _ in }
            )
            var addresses: [[ChunkAddress]] = []
            for file in files {
                var stream = TrickleStream(file, piece: 1000)
                addresses.append(
                    try unsafe chunker.takeFile(size: UInt64(file.count)) {
                        (buffer) throws(ContentError) in try unsafe stream.read(into: buffer)
                    }
                )
            }
            var (writer, indexes) = try chunker.finish()
            _ = try writer.finishChunks()
            let chunks = writer.chunks
            let blob = try writer.finish(bootstrap: []).bytes
            return (blob, chunks, addresses.map { $0.map { indexes[Int($0.index)].index } })
        }
    }

    private static func files() -> [[UInt8]] {
        var generator = SeededGenerator(seed: 8)
        let random = generator.bytes(10_000)
        let zeros = [UInt8](repeating: 0, count: 20_000)
        return [
            lines(300), random, zeros, Array(lines(300).prefix(5000)), random,
            Array(random.prefix(4096)), Array(random.prefix(4095)), [1], [1], zeros + [1],
        ]
    }

    @Test func contentsAreCutDeduplicatedAndInOrder() throws {
        let files = Self.files()
        let (blob, chunks, indexes) = try blob(files, threads: 2, running: 4)
        var decompressor = try ChunkDecompressor()
        var seen: Set<Digest> = []
        for (index, chunk) in chunks.enumerated() {
            #expect(seen.insert(chunk.digest).inserted)
            #expect(chunk.compressedSize <= chunk.uncompressedSize)
            #expect(chunk.uncompressedOffset.bytes == UInt64(index) * 4096)
            // Indexes are given in the order of first use.
            #expect(indexes.joined().first { $0 >= index } == UInt32(index))
        }
        for (file, indexes) in zip(files, indexes) {
            var content: [UInt8] = []
            for index in indexes {
                content += try self.content(chunks[Int(index)], of: blob, &decompressor)
            }
            #expect(content == file)
            #expect(indexes.count == (file.count + 4095) / 4096)
        }
        // Repeated pieces are stored once: 20 000 zeros are four times the same and a rest.
        #expect(
            indexes[2] == [
                indexes[2][0], indexes[2][0], indexes[2][0], indexes[2][0], indexes[2][4],
            ]
        )
        #expect(indexes[4] == indexes[1])
        #expect(indexes[5] == [indexes[1][0]])
    }

    private func content(
        _ chunk: Chunk,
        of blob: [UInt8],
        _ decompressor: inout ChunkDecompressor
    ) throws -> [UInt8] {
        let start = Int(chunk.compressedOffset.bytes)
        let stored = Array(blob[start..<start + Int(chunk.compressedSize)])
        guard chunk.isCompressed else { return stored }
        let output = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(chunk.uncompressedSize),
            alignment: 16
        )
        defer { unsafe output.deallocate() }
        let input = UnsafeMutableRawBufferPointer.allocate(byteCount: stored.count, alignment: 16)
        defer { unsafe input.deallocate() }
        unsafe input.copyBytes(from: stored)
        try unsafe decompressor.decompress(UnsafeRawBufferPointer(input), by: .zstd, into: output)
        let content = unsafe Array(output)
        #expect(StreamingDigest.digest(of: content) == chunk.digest)
        return content
    }

    @Test func theBlobDoesNotDependOnTheThreads() throws {
        let files = Self.files() + Self.files()
        let expected = try blob(files, threads: 1, running: 1)
        for (threads, running) in [(1, 8), (2, 2), (3, 5), (8, 64)] {
            let result = try blob(files, threads: threads, running: running)
            #expect(result.blob == expected.blob)
            #expect(result.files == expected.files)
        }
    }

    @Test func piecesAreCounted() throws {
        let files = Self.files()
        try ChunkWorkers.run(threads: 2, level: 3) { workers in
            var chunker = LayerChunker(
                output: BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .zstd),
                workers: workers,
                chunkSize: 4096,
                runningLimit: 3,
                meter: LayerProgressMeter([]) { _ in }
            )
            for file in files {
                var stream = TrickleStream(file, piece: 1000)
                _ = try unsafe chunker.takeFile(size: UInt64(file.count)) {
                    (buffer) throws(ContentError) in try unsafe stream.read(into: buffer)
                }
            }
            try chunker.writeAll()
            let counts = chunker.counts
            let times = chunker.times
            let (writer, addresses) = try chunker.finish()
            #expect(counts.all.pieces == addresses.count)
            #expect(counts.all.bytes == UInt64(files.joined().count))
            #expect(counts.all.pieces - counts.repeated.pieces == writer.chunks.count)
            let stored = writer.chunks.reduce(UInt64(0)) { $0 + UInt64($1.uncompressedSize) }
            #expect(counts.all.bytes - counts.repeated.bytes == stored)
            #expect(counts.inDictionary.pieces == 0)
            #expect(times.digest > 0 && times.compress > 0 && times.read == 0)
        }
    }

    @Test func contentThatEndsEarlyIsAnError() throws {
        try ChunkWorkers.run(threads: 1, level: 3) { workers in
            var chunker = LayerChunker(
                output: BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .zstd),
                workers: workers,
                chunkSize: 4096,
                runningLimit: 2,
                pieceLimit: 1 << 20,
                meter: LayerProgressMeter([]) { _ in }
            )
            var stream = TrickleStream(lines(200), piece: 1000)
            var kind: ContentError.Kind?
            do throws(ContentError) {
                _ = try unsafe chunker.takeFile(size: 1 << 40) { (buffer) throws(ContentError) in
                    try unsafe stream.read(into: buffer)
                }
            } catch {
                kind = error.kind
            }
            #expect(kind == .truncated)
        }
    }

    @Test func aLevelThatDoesNotExistFailsEveryChunk() {
        let error = #expect(throws: ContentError.self) {
            try ChunkWorkers.run(threads: 2, level: 1000) { workers in
                let job = ChunkJob(chunkSize: 16)
                workers.submit(job, known: KnownChunks())
                try job.waitUntilDone()
            }
        }
        #expect(error?.message.hasPrefix("zstd level 1000") == true)
    }
}
