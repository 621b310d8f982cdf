// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Synchronization
import Testing

@testable import ChunkCache

@Suite("Blocks read ahead on storage", .serialized)
struct StorageReaderTests {
    private static let step = 64 << 10

    /// A file of the cache, and who reads ahead of it.
    private final class Fixture {
        let reader: StorageReader
        let file: FileStorage
        private let path: String
        private let isOwner: Bool

        init(byteCount: UInt64, _ others: StorageReader? = nil) throws {
            // Not /tmp, which may be memory, past which nothing is read.
            var template = Array("/var/tmp/lazypull-storage-XXXXXX".utf8CString)
            let number = unsafe mkstemp(&template)
            guard number >= 0 else { throw SystemError("mkstemp", "/var/tmp", code: errno) }
            path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
            let opened = OwnedDescriptor(owning: number)
            try opened.truncate(to: byteCount, path)
            isOwner = others == nil
            reader = try others ?? StorageReader()
            file = try FileStorage(opened, path, DescriptorPool(limit: 8), reader)
        }

        deinit {
            if isOwner { reader.close() }
            _ = unsafe unlink(path)
        }

        /// Writes the same byte all over a range.
        func fill(_ offset: UInt64, _ count: Int, _ byte: UInt8) throws {
            let bytes = [UInt8](repeating: byte, count: count)
            try file.write(bytes.rawSpan, at: offset)
        }

        /// Has what was written on storage only.
        func settle() throws {
            try file.synchronize()
            file.dropPages(0..<UInt64(1) << 40)
        }

        /// What was read ahead of a place, once it has been read; nil if nothing was.
        func ahead(_ offset: UInt64, _ count: Int) -> [UInt8]? {
            // Whoever asks for what nobody has begun to read takes it out of the queue.
            reader.waitUntilIdle()
            var bytes = [UInt8](repeating: 0, count: count)
            let copied = unsafe bytes.withUnsafeMutableBytes {
                unsafe reader.copy(into: $0, at: offset, of: file, onWait: {})
            }
            return copied == count ? bytes : nil
        }
    }

    @Test func whatIsReadAheadIsWhatTheFileHolds() throws {
        let fixture = try Fixture(byteCount: 8 << 20)
        for index in 0..<UInt64(8) { try fixture.fill(index << 20, 1 << 20, UInt8(index + 1)) }
        try fixture.settle()
        fixture.reader.readAhead(fixture.file, (1 << 20)..<(4 << 20))
        // Across the border of two blocks, and not aligned.
        let bytes = try #require(fixture.ahead(2 << 20 - 1_000, 2_000))
        #expect(bytes == [UInt8](repeating: 2, count: 1_000) + [UInt8](repeating: 3, count: 1_000))
    }

    @Test func whatWasWrittenSinceIsNotGivenOut() throws {
        let fixture = try Fixture(byteCount: 4 << 20)
        fixture.reader.readAhead(fixture.file, 0..<(2 << 20))
        #expect(try #require(fixture.ahead(0, 4096)).allSatisfy { $0 == 0 })
        try fixture.fill(8192, 4096, 7)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let copied = unsafe bytes.withUnsafeMutableBytes {
            unsafe fixture.reader.copy(into: $0, at: 8192, of: fixture.file, onWait: {})
        }
        #expect(copied == 0)
        let read = try unsafe bytes.withUnsafeMutableBytes {
            try unsafe fixture.file.read(into: $0, at: 8192, onWait: {})
        }
        #expect(read == 4096)
        #expect(bytes.allSatisfy { $0 == 7 })
    }

    @Test func theEndOfTheFileIsNoBytesMore() throws {
        let fixture = try Fixture(byteCount: 10_000)
        try fixture.fill(0, 10_000, 9)
        try fixture.settle()
        fixture.reader.readAhead(fixture.file, 0..<(1 << 20))
        #expect(fixture.ahead(0, 10_000) == [UInt8](repeating: 9, count: 10_000))
        var bytes = [UInt8](repeating: 1, count: 100)
        let copied = unsafe bytes.withUnsafeMutableBytes {
            unsafe fixture.reader.copy(into: $0, at: 9_950, of: fixture.file, onWait: {})
        }
        #expect(copied == 50)
        #expect(bytes == [UInt8](repeating: 9, count: 50) + [UInt8](repeating: 1, count: 50))
    }

    @Test func whatIsInMemoryIsLeftThere() throws {
        let fixture = try Fixture(byteCount: 1 << 20)
        try fixture.fill(0, 1 << 20, 1)
        fixture.reader.readAhead(fixture.file, 0..<(1 << 20))
        #expect(fixture.ahead(0, 4096) == nil)
    }

    @Test func filesAreToldApart() throws {
        let one = try Fixture(byteCount: 1 << 20)
        let other = try Fixture(byteCount: 1 << 20)
        try one.fill(0, 1 << 20, 1)
        try other.fill(0, 1 << 20, 2)
        try one.settle()
        try other.settle()
        one.reader.readAhead(one.file, 0..<(1 << 20))
        one.reader.readAhead(other.file, 0..<(1 << 20))
        #expect(one.ahead(0, 4096)?.allSatisfy { $0 == 1 } == true)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let copied = unsafe bytes.withUnsafeMutableBytes {
            unsafe one.reader.copy(into: $0, at: 0, of: other.file, onWait: {})
        }
        #expect(copied == 4096)
        #expect(bytes.allSatisfy { $0 == 2 })
    }

    @Test func aFileThatIsGoneIsNotTakenForANewOne() throws {
        let reader = try StorageReader()
        defer { reader.close() }
        for round in 0..<100 {
            // Objects of one size: the new one often has the old one's address.
            let fixture = try Fixture(byteCount: 4096, reader)
            var bytes = [UInt8](repeating: 0, count: 4096)
            let copied = unsafe bytes.withUnsafeMutableBytes {
                unsafe reader.copy(into: $0, at: 0, of: fixture.file, onWait: {})
            }
            #expect(copied == 0, "round \(round)")
            reader.readAhead(fixture.file, 0..<4096)
            reader.waitUntilIdle()
        }
    }

    /// Writers fill a file place by place and say so only afterwards, as bits do; readers that
    /// follow them closely, read ahead of, never see what was there before.
    @Test func neverGivesOutWhatIsOlderThanItsBit() throws {
        let count: UInt64 = 128
        let fixture = try Fixture(byteCount: count * UInt64(Self.step))
        var wrong = 0
        for round in 1...6 as ClosedRange<UInt8> {
            try fixture.settle()
            let writer = WriterBox(fixture.file)
            let thread = try WorkerThread(name: "writer") {
                for index in 0..<count {
                    let bytes = [UInt8](repeating: round, count: Self.step)
                    try? writer.file.write(
                        bytes.rawSpan,
                        at: index * UInt64(Self.step)
                    )
                    writer.written.store(index + 1, ordering: .releasing)
                }
            }
            var place: UInt64 = 0
            while place < count {
                let limit = writer.written.load(ordering: .acquiring)
                // Ahead of the writer, so that blocks hold what it is about to replace.
                let start = limit * UInt64(Self.step)
                fixture.reader.readAhead(fixture.file, start..<start + 2 << 20)
                while place < limit {
                    var bytes = [UInt8](repeating: 0, count: Self.step)
                    _ = try unsafe bytes.withUnsafeMutableBytes {
                        try unsafe fixture.file.read(
                            into: $0,
                            at: place * UInt64(Self.step),
                            onWait: {}
                        )
                    }
                    if !bytes.allSatisfy({ $0 == round }) { wrong += 1 }
                    place += 1
                }
            }
            thread.join()
        }
        #expect(wrong == 0)
    }

    /// What the writing thread has.
    private final class WriterBox: Sendable {
        let file: FileStorage
        let written = Atomic<UInt64>(0)

        init(_ file: FileStorage) {
            self.file = file
        }
    }
}
