// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import Synchronization
import Testing

@testable import ChunkCache

/// What was done with a backing file and its durable bits, in order.
private final class WriteRecord: Sendable {
    enum Operation {
        case data(offset: UInt64, bytes: [UInt8])
        case dataSynchronized
        case bits(offset: UInt64, bytes: [UInt8])
        case bitsSynchronized
    }

    let operations = Mutex<[Operation]>([])

    func add(_ operation: Operation) { operations.withLock { $0.append(operation) } }
}

private enum Fault {
    case none
    case write
    case synchronization
}

/// A file in memory that records what is done with it, and fails when told to.
private final class RecordedStorage: CacheStorage {
    private let record: WriteRecord
    private let isData: Bool
    private let bytes: Mutex<[UInt8]>
    let fault = Mutex(Fault.none)
    let dropped = Mutex<[Range<UInt64>]>([])

    init(_ record: WriteRecord, isData: Bool, size: Int) {
        self.record = record
        self.isData = isData
        bytes = Mutex([UInt8](repeating: 0, count: size))
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        onWait: () -> Void
    ) throws(SystemError) -> Int {
        bytes.withLock { bytes in
            let part = bytes.dropFirst(Int(offset)).prefix(buffer.count)
            unsafe buffer.copyBytes(from: part)
            return part.count
        }
    }

    func write(_ span: RawSpan, at offset: UInt64) throws(SystemError) {
        if fault.withLock({ $0 == .write }) { throw SystemError("pwrite", "test", code: ENOSPC) }
        let new = unsafe span.withUnsafeBytes { unsafe Array($0) }
        bytes.withLock { $0.replaceSubrange(Int(offset)..<Int(offset) + new.count, with: new) }
        record.add(
            isData ? .data(offset: offset, bytes: new) : .bits(offset: offset, bytes: new)
        )
    }

    func synchronize() throws(SystemError) {
        if fault.withLock({ $0 == .synchronization }) {
            throw SystemError("fdatasync", "test", code: EIO)
        }
        record.add(isData ? .dataSynchronized : .bitsSynchronized)
    }

    func dropPages(_ range: Range<UInt64>) {
        dropped.withLock { $0.append(range) }
    }
}

@Suite("Backing file")
struct BackingFileTests {
    private let record = WriteRecord()
    private let data: RecordedStorage
    private let bits: RecordedStorage
    private let chunkSize = 4096
    private let chunkCount = 130

    init() {
        data = RecordedStorage(record, isData: true, size: 130 * 4096)
        bits = RecordedStorage(record, isData: false, size: 4096 + 24)
    }

    private func backing(_ durableWords: [UInt64] = [0, 0, 0]) throws -> BackingFile {
        BackingFile(
            data: data,
            durableFile: bits,
            durableWords: durableWords,
            bits: ChunkBitmap(
                try SharedMapping(byteCount: 4096 + 24),
                chunkCount: chunkCount
            )
        )
    }

    private func store(_ index: Int, in backing: BackingFile) throws {
        let bytes = [UInt8](repeating: UInt8(index % 255) + 1, count: chunkSize)
        let place = UncompressedOffset(UInt64(index * chunkSize))
        try backing.store(bytes.rawSpan, chunk: index, at: place)
    }

    /// The power fails after any operation.
    ///
    /// Data that was not synchronized is lost, bits that were written may be there: none of them
    /// may stand for lost data.
    @Test func aDurableBitNeverStandsForDataThatAPowerCutLoses() throws {
        let backing = try backing()
        for round in 0..<13 {
            for index in 0..<10 { try store((round * 37 + index * 13) % chunkCount, in: backing) }
            if round % 3 != 1 { try backing.flush() }
        }
        try backing.flush()
        let operations = record.operations.withLock { $0 }
        var sawBit = false
        for end in 0...operations.count {
            var unsafeChunks: Set<Int> = []
            var safeChunks: Set<Int> = []
            var words = [UInt8](repeating: 0, count: 24)
            for operation in operations[..<end] {
                switch operation {
                case .data(let offset, _): unsafeChunks.insert(Int(offset) / chunkSize)
                case .dataSynchronized: safeChunks.formUnion(unsafeChunks)
                case .bits(let offset, let bytes):
                    let start = Int(offset) - BitmapHeader.byteCount
                    words.replaceSubrange(start..<start + bytes.count, with: bytes)
                case .bitsSynchronized: break
                }
            }
            for index in 0..<chunkCount where words[index / 8] >> UInt8(index % 8) & 1 == 1 {
                sawBit = true
                #expect(safeChunks.contains(index), "after \(end) operations")
            }
        }
        #expect(sawBit)
    }

    @Test func everyBitIsItsOwn() throws {
        let backing = try backing()
        for index in 0..<chunkCount {
            #expect(!backing.contains(index))
            try store(index, in: backing)
            #expect(backing.contains(index))
            #expect(!backing.contains(index + 1))
        }
        #expect(!backing.contains(-1))
    }

    @Test func aWriteThatFailsLeavesNoBit() throws {
        let backing = try backing()
        data.fault.withLock { $0 = .write }
        #expect(throws: SystemError.self) { try store(5, in: backing) }
        #expect(!backing.contains(5))
    }

    @Test func aSynchronizationThatFailsTakesBackWhatIsNotDurable() throws {
        let backing = try backing()
        try store(1, in: backing)
        try backing.flush()
        try store(2, in: backing)
        data.fault.withLock { $0 = .synchronization }
        #expect(throws: SystemError.self) { try backing.flush() }
        #expect(backing.contains(1))
        #expect(!backing.contains(2))
    }

    @Test func bitsThatCannotBeWrittenAreWrittenTheNextTime() throws {
        let backing = try backing()
        try store(1, in: backing)
        bits.fault.withLock { $0 = .write }
        #expect(throws: SystemError.self) { try backing.flush() }
        #expect(backing.contains(1))
        bits.fault.withLock { $0 = .none }
        try backing.flush()
        let memory = try AnonymousMemory(byteCount: 1)
        #expect(try unsafe bits.read(into: memory.bytes, at: 4096, onWait: {}) == 1)
        #expect(unsafe memory.bytes[0] == 2)
    }

    @Test func nothingNewIsNothingToFlush() throws {
        let backing = try backing()
        try backing.flush()
        #expect(record.operations.withLock { $0.isEmpty })
    }

    /// What was fetched ahead is still to be read when it becomes durable.
    @Test func whatWasStoredStaysInMemoryForOneMoreFlush() throws {
        let backing = try backing()
        func dropped() -> [Range<UInt64>] { data.dropped.withLock { $0 } }
        try store(0, in: backing)
        try store(1, in: backing)
        try store(7, in: backing)
        try backing.flush()
        #expect(dropped().isEmpty)
        try store(2, in: backing)
        try backing.flush()
        #expect(dropped() == [0..<8192, 28_672..<32_768])
        // Nothing has come since: the rest goes all the same, and goes once.
        try backing.flush()
        try backing.flush()
        #expect(dropped() == [0..<8192, 28_672..<32_768, 8192..<12_288])
    }

    @Test func partsBeyondNumberAreOne() {
        var written = WrittenExtents()
        for index in 0..<UInt64(10_000) { written.add(index * 8192..<index * 8192 + 4096) }
        #expect(written.nextGeneration().isEmpty)
        let ranges = written.nextGeneration()
        #expect(ranges.count <= 4096)
        for index in 0..<UInt64(10_000) {
            let place = index * 8192..<index * 8192 + 4096
            #expect(
                ranges.contains {
                    $0.lowerBound <= place.lowerBound && $0.upperBound >= place.upperBound
                }
            )
        }
        #expect(written.nextGeneration().isEmpty)
    }

    /// A full disk: reads go on from memory, each chunk is fetched each time, and it is said once.
    @Test func readsGoOnWhenNothingCanBeStored() throws {
        let fixture = try CacheFixture()
        let blob = try TestBlob(sizes: [4096, 4096, 100])
        let source = TestSource(blob.stored)
        data.fault.withLock { $0 = .write }
        let cached = CachedBlob(
            blob.digest,
            number: 1,
            table: ArrayTable(chunks: blob.chunks),
            coding: .written,
            source: source,
            backing: try backing(),
            viewSize: blob.viewSize
        )
        let scheduler = try FetchScheduler(
            FetchLimits(threads: 2, readAhead: ReadAhead(requestBytes: 0)),
            counters: CacheCounters(),
            log: fixture.log,
            onStored: { _ in }
        )
        scheduler.add(cached)
        for _ in 0..<3 {
            let answer = Answer()
            let slices = [blob.slice(0, of: cached), blob.slice(2, of: cached, place: 4096)]
            scheduler.begin(PendingRead(slices, byteCount: 4196, waiter: answer))
            #expect(try answer.bytes() == blob.contents[0] + blob.contents[2])
        }
        scheduler.close()
        #expect(source.ranges.count == 6)
        #expect(fixture.logLines.filter { $0.contains("chunks are not cached") }.count == 1)
    }
}
