// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Testing

@testable import ChunkCache

@Suite("Descriptor pool", .timeLimit(.minutes(5)))
struct DescriptorPoolTests {
    private let fixture: CacheFixture

    init() throws {
        fixture = try CacheFixture()
    }

    private func storage(_ name: String, _ pool: DescriptorPool) throws -> FileStorage {
        let path = "\(fixture.path)/\(name)"
        let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
        let bytes = [UInt8](name.utf8)
        try file.write(bytes.rawSpan, path)
        return try FileStorage(file, path, pool)
    }

    private static func content(_ storage: FileStorage) throws -> String {
        let memory = try AnonymousMemory(byteCount: 16)
        let count = try unsafe storage.read(into: memory.bytes, at: 0, onWait: {})
        return unsafe String(decoding: memory.bytes[..<count], as: UTF8.self)
    }

    @Test func keepsNoMoreFilesOpenThanItMay() throws {
        let pool = DescriptorPool(limit: 3)
        let files = try (0..<20).map { try storage("file\($0)", pool) }
        #expect(pool.openCount == 0)
        for _ in 0..<3 {
            for (number, file) in files.enumerated() {
                #expect(try Self.content(file) == "file\(number)")
                #expect(pool.openCount <= 3)
            }
        }
    }

    @Test func keepsThoseOpenThatAreUsed() throws {
        let pool = DescriptorPool(limit: 4)
        let files = try (0..<20).map { try storage("file\($0)", pool) }
        let path = "\(fixture.path)/file0"
        _ = try Self.content(files[0])
        // Gone from the directory: it can be read only as long as it stays open.
        try FileSystem.removeFile(path)
        for file in files.dropFirst() {
            #expect(try Self.content(file).hasPrefix("file"))
            #expect(try Self.content(files[0]) == "file0")
        }
    }

    @Test func aFileThatWasReplacedIsNotTakenForTheOldOne() throws {
        let pool = DescriptorPool(limit: 1)
        let file = try storage("file", pool)
        let other = try storage("other", pool)
        _ = try Self.content(file)
        let path = "\(fixture.path)/file"
        try FileSystem.replace(path, with: [UInt8]("wrong".utf8).rawSpan)
        _ = try Self.content(other)
        let error = #expect(throws: SystemError.self) { try Self.content(file) }
        #expect(error?.code == ESTALE)
    }

    @Test func aFileWithUnsynchronizedBytesStaysOpen() throws {
        let pool = DescriptorPool(limit: 1)
        let file = try storage("file", pool)
        try file.write([UInt8]("new".utf8).rawSpan, at: 0)
        let other = try storage("other", pool)
        #expect(try Self.content(other) == "other")
        #expect(pool.openCount == 2)
        try file.synchronize()
        let third = try storage("third", pool)
        #expect(try Self.content(third) == "third")
        #expect(pool.openCount == 1)
        #expect(try Self.content(file) == "newe")
    }

    @Test func threadsThatShareFewDescriptorsReadTheRightFiles() throws {
        let pool = DescriptorPool(limit: 2)
        let files = try (0..<6).map { try storage("file\($0)", pool) }
        let wrong = Monitor(0)
        let threads = ThreadGroup()
        for seed in 0..<6 {
            try threads.start(name: "reader") {
                for round in 0..<500 {
                    let number = (seed + round * 7) % files.count
                    if (try? Self.content(files[number])) != "file\(number)" {
                        wrong.update { $0 += 1 }
                    }
                }
            }
        }
        threads.wait()
        #expect(wrong.update { $0 } == 0)
    }

    @Test func aCacheOfManyBlobsHoldsFewDescriptors() throws {
        let cache = try fixture.cache(openFiles: 5)
        var blobs: [(TestBlob, CachedBlob, TestSource)] = []
        for seed in 0..<40 {
            let blob = try TestBlob(sizes: [3_000, 4_000], seed: UInt8(seed * 5))
            let source = TestSource(blob.stored)
            blobs.append((blob, try fixture.open(blob, cache, source), source))
        }
        for _ in 0..<2 {
            for (blob, cached, source) in blobs {
                for index in 0..<2 {
                    #expect(
                        try fixture.read(index, of: blob, cached, cache) == blob.contents[index]
                    )
                }
                #expect(source.ranges.count == 2)
                cache.flush()
                #expect(cache.openFileCount <= 6)
            }
        }
    }
}
