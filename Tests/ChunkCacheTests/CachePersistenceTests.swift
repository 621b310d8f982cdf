// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Testing

@testable import ChunkCache

@Suite("Chunk cache across processes", .timeLimit(.minutes(5)))
struct CachePersistenceTests {
    private let fixture: CacheFixture
    private let blob: TestBlob
    private let source: TestSource

    init() throws {
        fixture = try CacheFixture()
        blob = try TestBlob(sizes: [10_000, 5_000, 4_096, 1, 70_000])
        source = TestSource(blob.stored)
    }

    /// Reads chunks through a new cache, as a new process does.
    private func read(
        _ indices: [Int],
        hasRuntimeBits: Bool = true,
        isKilled: Bool = false
    ) throws {
        let cache = try fixture.cache(hasRuntimeBits: hasRuntimeBits)
        let cached = try fixture.open(blob, cache, source)
        for index in indices {
            #expect(try fixture.read(index, of: blob, cached, cache) == blob.contents[index])
        }
        isKilled ? cache.abandonForTest() : cache.close()
    }

    @Test func whatWasClosedIsNotFetchedAgain() throws {
        try read([0, 1, 2, 3, 4], hasRuntimeBits: false)
        try read([0, 1, 2, 3, 4], hasRuntimeBits: false)
        #expect(source.ranges.count == 5)
    }

    @Test func whatAKilledProcessHadIsNotFetchedAgain() throws {
        try read([0, 1, 4], isKilled: true)
        try read([0, 1, 4])
        #expect(source.ranges.count == 3)
    }

    @Test func aCleanEndLeavesNoRuntimeBits() throws {
        try read([0, 1], isKilled: true)
        _ = try fixture.file("", below: fixture.runtimeDirectory)
        try read([2])
        #expect(throws: SystemError.self) {
            try fixture.file("", below: fixture.runtimeDirectory)
        }
        try read([0, 1, 2])
        #expect(source.ranges.count == 3)
    }

    @Test func aBlobThatNobodyUsesIsClosedAndCanBeOpenedAgain() throws {
        let cache = try fixture.cache()
        let first = try fixture.open(blob, cache, source)
        let second = try fixture.open(blob, cache, source)
        #expect(first === second)
        #expect(try fixture.read(0, of: blob, first, cache) == blob.contents[0])
        cache.close(first)
        #expect(try fixture.read(1, of: blob, second, cache) == blob.contents[1])
        cache.close(second)
        #expect(throws: SystemError.self) {
            try fixture.file("", below: fixture.runtimeDirectory)
        }
        #expect(throws: ContentError.self) { try fixture.read(2, of: blob, second, cache) }
        let third = try fixture.open(blob, cache, source)
        #expect(third !== first)
        for index in 0..<3 {
            #expect(try fixture.read(index, of: blob, third, cache) == blob.contents[index])
        }
        #expect(source.ranges.count == 3)
    }

    @Test func withoutRuntimeBitsAKilledProcessLeavesOnlyWhatIsDurable() throws {
        try read([0], hasRuntimeBits: false)
        try read([0, 1], hasRuntimeBits: false, isKilled: true)
        try read([0, 1], hasRuntimeBits: false)
        #expect(source.ranges.count == 3)
    }

    /// The header's fields: boot id, device, inode, generation.
    @Test(arguments: [8, 23, 24, 32, 40])
    func runtimeBitsOfAnotherBootOrFileAreNotBelieved(offset: Int) throws {
        try read([0, 1], isKilled: true)
        let path = try fixture.file("", below: fixture.runtimeDirectory)
        var bytes = try FileSystem.contents(of: path)
        bytes[offset] ^= 1
        try FileSystem.replace(path, with: bytes.rawSpan)
        try read([0, 1])
        #expect(source.ranges.count == 4)
    }

    @Test func aBackingFileThatWasReplacedIsNotBelieved() throws {
        try read([0, 1])
        let path = try fixture.file("data", below: fixture.cacheDirectory + "/blobs")
        let size = try FileStatus(path: path).size
        try FileSystem.removeFile(path)
        let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
        try file.truncate(to: size, path)
        try read([0, 1])
        #expect(source.ranges.count == 4)
    }

    @Test func aBackingFileThatIsGoneOrCutIsMadeAnew() throws {
        try read([0, 1])
        let path = try fixture.file("data", below: fixture.cacheDirectory + "/blobs")
        try FileSystem.removeFile(path)
        try read([0, 1])
        try OwnedDescriptor.open(path, O_RDWR).truncate(to: 4096, path)
        try read([0, 1])
        #expect(source.ranges.count == 6)
    }

    @Test func aBackingFileThatIsCutUnderARunningCacheIsFilledAgain() throws {
        let cache = try fixture.cache()
        let cached = try fixture.open(blob, cache, source)
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        let path = try fixture.file("data", below: fixture.cacheDirectory + "/blobs")
        try OwnedDescriptor.open(path, O_RDWR).truncate(to: 100, path)
        #expect(try fixture.read(0, of: blob, cached, cache) == blob.contents[0])
        #expect(source.ranges.count == 2)
    }

    @Test func durableBitsThatAreCutOrForeignAreNotBelieved() throws {
        try read([0, 1], hasRuntimeBits: false)
        let path = try fixture.file("bits", below: fixture.cacheDirectory + "/blobs")
        let bytes = try FileSystem.contents(of: path)
        for change in [Array(bytes.dropLast()), bytes + [0], [], Array(bytes.prefix(4096))] {
            try FileSystem.replace(path, with: change.rawSpan)
            let before = source.ranges.count
            try read([0, 1], hasRuntimeBits: false)
            #expect(source.ranges.count == before + 2)
        }
    }
}

extension ChunkCache {
    /// Ends as a killed process does: nothing is made durable, and the lock is free.
    fileprivate func abandonForTest() {
        abandon()
    }
}

@Suite("Bitmap header")
struct BitmapHeaderTests {
    private let header = BitmapHeader(
        bootID: Array(1...16),
        device: 2,
        inode: 3,
        generation: 4,
        chunkCount: 65,
        viewSize: 1 << 30,
        blob: .zero,
        key: .zero
    )

    @Test func readsBackItsWords() {
        let file = header.file(words: [1, UInt64.max])
        #expect(file.count == 4096 + 16)
        #expect(header.words(of: file) == [1, UInt64.max])
        #expect(header.durable.words(of: file) == nil)
    }

    @Test func aFileOfAnotherLengthIsNoBitmap() {
        let file = header.file(words: [1, 2])
        for count in stride(from: 0, to: file.count, by: 61) {
            #expect(header.words(of: Array(file.prefix(count))) == nil)
        }
        #expect(header.words(of: file + [0]) == nil)
    }

    @Test func everyByteOfTheHeaderCounts() {
        let file = header.file(words: [1, 2])
        // All that is said, and samples of the zeros behind it.
        for index in Array(0..<130) + Array(stride(from: 130, to: 4096, by: 101)) + [4095] {
            var changed = file
            changed[index] ^= 0x80
            #expect(header.words(of: changed) == nil)
        }
    }
}
