// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Synchronization

/// The sparse local file that holds a blob's chunks, and the bits that say which.
///
/// 1. A runtime bit is set only after the chunk's verified bytes have been written: whatever moment
///    the process is killed at, a set bit stands for bytes that the kernel has. For a chunk of
///    zeros nothing need be written: its place holds zeros or nothing, and nothing reads as zeros.
/// 2. A durable bit is written only after a synchronization of the data that began after the
///    runtime bit was set: whatever moment the power fails at, a durable bit stands for bytes on
///    storage. Durable bits are a subset of runtime bits, except across a boot, which begins with
///    the durable ones.
/// 3. A synchronization that fails may have lost any bytes since the last one: all runtime bits
///    that are not durable are cleared.
/// 4. Bits say nothing about a file they were not made for: both headers name it.
///
/// So a bit never lies; at worst it is missing.
final class BackingFile: Sendable {
    private let data: any CacheStorage
    private let durableFile: any CacheStorage
    private let runtimePath: String?
    private let bits: ChunkBitmap
    /// The words that are in the durable file; one flush at a time.
    private let durable: Monitor<[UInt64]>
    /// What is in memory because it was stored.
    private let written = Mutex(WrittenExtents())

    /// A backing file and its bits.
    ///
    /// - Parameters:
    ///   - data: the chunks.
    ///   - durableFile: the durable bitmap's file, whose header is written.
    ///   - durableWords: the words it holds.
    ///   - bits: the runtime bits.
    ///   - runtimePath: the file they are in, which `close` removes; nil if they are in none.
    init(
        data: any CacheStorage,
        durableFile: any CacheStorage,
        durableWords: [UInt64],
        bits: consuming ChunkBitmap,
        runtimePath: String? = nil
    ) {
        self.data = data
        self.durableFile = durableFile
        self.bits = bits
        self.runtimePath = runtimePath
        durable = Monitor(durableWords)
    }

    /// Whether the chunk is present.
    func contains(_ index: Int) -> Bool { bits.isSet(index) }

    /// Reads a part of a chunk that is present; takes no lock and allocates nothing.
    ///
    /// - Parameters:
    ///   - chunk: the chunk's index.
    ///   - offset: where the part begins in the uncompressed view.
    ///   - buffer: filled whole if the chunk is there.
    ///   - onWait: called before the thread waits for storage.
    /// - Returns: false if it is not: absent, or its bytes could not be read back, which makes it
    ///   absent.
    func read(
        chunk: Int,
        at offset: UncompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer,
        onWait: () -> Void = {}
    ) -> Bool {
        guard bits.isSet(chunk) else { return false }
        let count = try? unsafe data.read(into: buffer, at: offset.bytes, onWait: onWait)
        if count == buffer.count { return true }
        // Somebody truncated the file, or the disk fails: the chunk is fetched again.
        bits.clear(chunk)
        return false
    }

    /// Stores a chunk's verified bytes.
    ///
    /// - Parameters:
    ///   - bytes: the whole chunk, uncompressed.
    ///   - chunk: the chunk's index.
    ///   - offset: where it begins in the uncompressed view.
    /// - Throws: `SystemError` if they could not be written; the chunk stays absent.
    func store(
        _ bytes: RawSpan,
        chunk: Int,
        at offset: UncompressedOffset
    ) throws(SystemError) {
        try data.write(bytes, at: offset.bytes)
        written.withLock { $0.add(offset.bytes..<offset.bytes + UInt64(bytes.byteCount)) }
        bits.set(chunk)
    }

    /// Marks a chunk as present that is all zeros.
    ///
    /// In its place nothing but verified bytes of this chunk was ever written: chunks share no bytes
    /// of the view, and another chunk's records have a file of their own.
    func markZero(chunk: Int) {
        bits.set(chunk)
    }

    /// Makes what is present safe on storage, and says so in the durable bits.
    ///
    /// - Throws: `SystemError`; nothing that is not durable is present then.
    func flush() throws(SystemError) {
        let failure: SystemError? = durable.update { durable in
            let words = bits.snapshot()
            guard words != durable else {
                dropPages()
                return nil
            }
            do throws(SystemError) {
                try data.synchronize()
            } catch {
                bits.keep(durable)
                return error
            }
            let failure = record(words, in: &durable)
            dropPages()
            return failure
        }
        if let failure { throw failure }
    }

    /// Takes what was stored before the flush before this one out of memory.
    ///
    /// It has been read, and the reader's kernel keeps that, or will be from storage. What this flush
    /// made durable stays until the next: much of what was fetched ahead is still to be read.
    private func dropPages() {
        for range in written.withLock({ $0.nextGeneration() }) { data.dropPages(range) }
    }

    /// Makes everything durable, and removes the runtime bits, which then say nothing more.
    ///
    /// Nothing may be stored after it.
    ///
    /// - Throws: `SystemError`; the runtime bits stay.
    func close() throws(SystemError) {
        try flush()
        dropPages()
        if let runtimePath { try FileSystem.removeFile(runtimePath) }
    }

    /// Writes the words that have changed: bits only appear, so a torn write loses some and adds
    /// none.
    private func record(_ words: [UInt64], in durable: inout [UInt64]) -> SystemError? {
        guard let first = words.indices.first(where: { words[$0] != durable[$0] }),
            let last = words.indices.last(where: { words[$0] != durable[$0] })
        else { return nil }
        var bytes: [UInt8] = []
        for word in words[first...last] { bytes.appendLittleEndian(word) }
        do throws(SystemError) {
            let offset = UInt64(BitmapHeader.byteCount + first * 8)
            try unsafe durableFile.write(bytes.span.bytes, at: offset)
            try durableFile.synchronize()
        } catch {
            // What the file holds is now unknown, but every bit in it is true: the next flush
            // writes from the last known words on.
            return error
        }
        durable = words
        return nil
    }
}
