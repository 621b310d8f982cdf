// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import Synchronization

/// A file of the cache: what is done with it, and nothing else, so that tests can record it and
/// make it fail.
protocol CacheStorage: Sendable {
    /// Reads from the offset.
    ///
    /// - Parameters:
    ///   - buffer: takes the bytes from its start.
    ///   - offset: the file offset of the first byte.
    ///   - onWait: called before the thread waits for storage; not called if all is in memory.
    /// - Returns: how many bytes were read; fewer than asked only at the end of the file.
    /// - Throws: `SystemError`.
    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        onWait: () -> Void
    ) throws(SystemError) -> Int

    /// Writes all bytes at the offset.
    ///
    /// - Throws: `SystemError`; part may have been written.
    func write(_ bytes: RawSpan, at offset: UInt64) throws(SystemError)

    /// Makes what was written safe on storage.
    ///
    /// - Throws: `SystemError`; anything written since the last time may be lost.
    func synchronize() throws(SystemError)

    /// Takes what is on storage of a part of the file out of memory.
    func dropPages(_ range: Range<UInt64>)
}

/// A file of the file system, which is open while it is used, and longer if a pool has room.
final class FileStorage: CacheStorage {
    /// What tells the file from another one of its name.
    private struct Identity: Equatable {
        var device: UInt64
        var inode: UInt64
        var generation: UInt32

        init(_ file: borrowing OwnedDescriptor, _ path: String) throws(SystemError) {
            let status = try file.status(path)
            device = status.device
            inode = status.inode
            generation = file.inodeGeneration
        }
    }

    /// Tells the process's files apart, also those that are gone: their addresses come again.
    let number: UInt64
    private static let lastNumber = Atomic<UInt64>(0)

    private let path: String
    private let pool: DescriptorPool
    private let identity: Identity
    private let slot = DescriptorSlot()
    private let readAhead = StorageReadAhead()
    private let reader: StorageReader?
    /// For what is read ahead.
    private let directSlot = DescriptorSlot()
    /// Whether reads bring no pages in.
    ///
    /// What is read ahead of them stays until it is read: with 10,000 small files that are on disk
    /// it is the difference between 1 s and 9 s.
    ///
    /// The reader's own page cache holds what was read: twice is
    /// once too often.
    private let readsUncached = Atomic(true)
    /// Whether the descriptor is kept in use because of bytes that were written and not
    /// synchronized: the kernel tells a failure to write them back to those who had the file open.
    private let isDirty = Atomic(false)

    /// The file that is open, from now on opened by its path.
    ///
    /// - Parameters:
    ///   - file: opened for reading and writing.
    ///   - path: where it is; another file there later is an error.
    ///   - pool: keeps the descriptor.
    ///   - reader: reads the file ahead of sequential readers; nil for nobody.
    /// - Throws: `SystemError`.
    init(
        _ file: consuming OwnedDescriptor,
        _ path: String,
        _ pool: DescriptorPool,
        _ reader: StorageReader? = nil
    ) throws(SystemError) {
        identity = try Identity(file, path)
        number = Self.lastNumber.wrappingAdd(1, ordering: .relaxed).newValue
        self.path = path
        self.pool = pool
        self.reader = reader
        // Closed here and opened when it is first used: most blobs of most images are not.
    }

    deinit {
        if isDirty.load(ordering: .acquiring) { slot.release() }
        _ = slot.close()
        _ = directSlot.close()
    }

    /// Runs the body with the file's descriptor.
    private func withDescriptor<T>(
        _ body: (Int32) throws(SystemError) -> T
    ) throws(SystemError) -> T {
        let number: Int32
        if let open = slot.acquire() { number = open } else { number = try open(slot, O_RDWR) }
        defer { slot.release() }
        return try body(number)
    }

    private func open(_ slot: DescriptorSlot, _ flags: Int32) throws(SystemError) -> Int32 {
        try pool.open(slot) { () throws(SystemError) in
            let file = try OwnedDescriptor.open(path, flags | O_NOFOLLOW)
            guard try Identity(file, path) == identity else {
                throw SystemError("open again", path, code: ESTALE)
            }
            return file
        }
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        onWait: () -> Void
    ) throws(SystemError) -> Int {
        let ahead = unsafe readAhead(into: buffer, at: offset, onWait)
        if ahead == buffer.count { return ahead }
        let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[ahead...])
        return ahead + (try unsafe readNow(into: rest, at: offset &+ UInt64(ahead), onWait))
    }

    /// Copies what was read ahead, and has read ahead what comes next.
    private func readAhead(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        _ onWait: () -> Void
    ) -> Int {
        guard let reader else { return 0 }
        if let range = readAhead.reading(at: offset, count: buffer.count) {
            reader.readAhead(self, range)
        }
        return unsafe reader.copy(into: buffer, at: offset, of: self, onWait: onWait)
    }

    private func readNow(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        _ onWait: () -> Void
    ) throws(SystemError) -> Int {
        try withDescriptor { number throws(SystemError) in
            let done = unsafe OwnedDescriptor.readAtOnce(number, into: buffer, at: offset)
            if done == buffer.count { return done }
            readAhead.waiting(at: offset)
            onWait()
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            return done + (try unsafe readWaiting(number, into: rest, at: offset &+ UInt64(done)))
        }
    }

    private func readWaiting(
        _ number: Int32,
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64
    ) throws(SystemError) -> Int {
        if readsUncached.load(ordering: .relaxed) {
            switch try unsafe UncachedRead.perform(number, into: buffer, at: offset, path) {
            case .bytes(let count): return count
            case .unsupported: readsUncached.store(false, ordering: .relaxed)
            }
        }
        return try OwnedDescriptor.borrowing(number) { file throws(SystemError) in
            try unsafe file.read(into: buffer, at: offset, path)
        }
    }

    func dropPages(_ range: Range<UInt64>) {
        try? withDescriptor { number throws(SystemError) in
            OwnedDescriptor.borrowing(number) { $0.dropPages(range) }
        }
    }

    /// Whether most of a part of the file is in memory, and need not be read ahead.
    func isInMemory(_ range: Range<UInt64>) -> Bool {
        let count = try? withDescriptor { number throws(SystemError) in
            OwnedDescriptor.borrowing(number) { $0.bytesInMemory(range) }
        }
        return (count ?? 0) > (range.upperBound - range.lowerBound) / 2
    }

    /// A part of the file that was to be read ahead is in memory.
    func foundInMemory(_ range: Range<UInt64>) {
        readAhead.foundInMemory(range)
    }

    /// Reads past the page cache; for `StorageReader` alone.
    ///
    /// - Parameters:
    ///   - buffer: takes the bytes from its start; its address and length, as the offset, are
    ///     multiples of 4 KiB.
    ///   - offset: the file offset of the first byte.
    /// - Returns: how many bytes were read; fewer than asked only at the end of the file.
    /// - Throws: `SystemError`: EINVAL where the file system cannot do it.
    func readDirectly(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64
    ) throws(SystemError) -> Int {
        let number: Int32
        if let open = directSlot.acquire() {
            number = open
        } else {
            number = try open(directSlot, OwnedDescriptor.directReading)
        }
        defer { directSlot.release() }
        return try OwnedDescriptor.borrowing(number) { file throws(SystemError) in
            try unsafe file.read(into: buffer, at: offset, path)
        }
    }

    func write(_ bytes: RawSpan, at offset: UInt64) throws(SystemError) {
        try withDescriptor { number throws(SystemError) in
            if !isDirty.exchange(true, ordering: .acquiring) { _ = slot.acquire() }
            try OwnedDescriptor.borrowing(number) { file throws(SystemError) in
                try file.write(bytes, at: offset, path)
            }
        }
        reader?.invalidate(self, offset..<offset + UInt64(bytes.byteCount))
    }

    func synchronize() throws(SystemError) {
        try withDescriptor { number throws(SystemError) in
            // Before the call: what is written during it may not be in it.
            let wasDirty = isDirty.exchange(false, ordering: .acquiringAndReleasing)
            defer { if wasDirty { slot.release() } }
            try OwnedDescriptor.borrowing(number) { file throws(SystemError) in
                try file.synchronizeData(path)
            }
        }
    }
}
