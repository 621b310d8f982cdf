// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// The threads that read the cache's files ahead of sequential readers, and the memory they read to.
///
/// The kernel of a mount asks for an eighth of a megabyte and waits for it: without this the storage
/// stands idle while the answer is copied. It reads past the page cache, since the reader's own has
/// what was read: half of the processor's time went into pages that were dropped at once.
///
/// 1. A block holds what its file held when it was read, or it is stale: nobody copies from it.
/// 2. Whoever writes to a file makes the blocks stale that hold that place, also those that are
///    being read, after the write and before a bit says that the bytes are there. So a reader that
///    saw the bit finds the bytes in a block, or no block.
/// 3. A block's memory is written by the thread that loads it, while it is loading, and read by
///    those who are counted as its users; a block with users is not loaded again.
final class StorageReader: @unchecked Sendable {
    // @unchecked: who touches `memory` when is invariant 3.
    fileprivate enum Phase {
        case free
        case loading
        case ready
    }

    fileprivate struct Block {
        var phase = Phase.free
        /// The file's number.
        var file: UInt64 = 0
        /// What it holds, in bytes of the file.
        var range: Range<UInt64> = 0..<0
        var isStale = false
        var users = 0
        var lastUse: UInt64 = 0

        func holds(_ place: UInt64, of file: UInt64) -> Bool {
            phase != .free && self.file == file && !isStale && range.contains(place)
        }
    }

    fileprivate struct Request {
        var file: FileStorage
        var range: Range<UInt64>
    }

    fileprivate struct State {
        var blocks = [Block](repeating: Block(), count: StorageReader.blockCount)
        /// What is to be read, oldest first.
        var queue: [Request] = []
        var clock: UInt64 = 0
        var isClosed = false
    }

    fileprivate enum Job {
        case load(Request, block: Int)
        case end
    }

    fileprivate enum Lookup {
        case missing
        case loading
        case found(block: Int, start: Int, count: Int)
    }

    /// The largest block, in bytes; what a reader that comes too soon waits for.
    private static let blockSize = 1 << 20
    fileprivate static let blockCount = 16
    /// More requests are not kept: their readers will have been there before.
    private static let queueLimit = 16
    /// Direct reads begin and end at multiples of this.
    private static let alignment: UInt64 = 4096
    /// One request at a time leaves half of what storage can give.
    private static let threadCount = 3
    /// How long blocks are kept when nothing is read ahead, in milliseconds.
    private static let restTime = 1_000

    private let state = Monitor(State())
    private var memory: AnonymousMemory
    /// How many blocks are not free.
    ///
    /// A write that sees none precedes the loading of any that comes later.
    private let usedBlocks = Atomic(0)
    private let threads = ThreadGroup()

    /// A reader whose threads are running.
    ///
    /// - Throws: `SystemError` if there is no thread or memory.
    init() throws(SystemError) {
        memory = try AnonymousMemory(byteCount: Self.blockSize * Self.blockCount)
        state.update { $0.queue.reserveCapacity(Self.queueLimit) }
        do {
            for number in 0..<Self.threadCount {
                try threads.start(name: "read-ahead-\(number)") { self.work() }
            }
        } catch {
            close()
            throw error
        }
    }

    /// Ends the threads, which keep this alive until then.
    func close() {
        state.update { $0.isClosed = true }
        threads.wait()
    }

    /// Has a part of a file read ahead; returns at once.
    func readAhead(_ file: FileStorage, _ range: Range<UInt64>) {
        let size = UInt64(Self.blockSize)
        state.update { state in
            guard !state.isClosed else { return }
            var start = range.lowerBound / Self.alignment * Self.alignment
            while start < range.upperBound, state.queue.count < Self.queueLimit {
                let end = min((start / size + 1) * size, range.upperBound)
                state.queue.append(Request(file: file, range: start..<end))
                start = end
            }
        }
    }

    /// Copies what was read ahead.
    ///
    /// - Parameters:
    ///   - buffer: takes the bytes from its start.
    ///   - offset: the file offset of the first byte.
    ///   - file: the file.
    ///   - onWait: called before the thread waits for what is being read.
    /// - Returns: how many bytes were copied.
    func copy(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        of file: FileStorage,
        onWait: () -> Void
    ) -> Int {
        guard usedBlocks.load(ordering: .relaxed) > 0 else { return 0 }
        var done = 0
        while done < buffer.count {
            let place = offset &+ UInt64(done)
            let limit = buffer.count - done
            // Quietly: threads that wait for something to read would be woken by each copy.
            var found = state.updateQuietly { $0.use(place, limit, of: file.number) }
            if case .loading = found {
                onWait()
                found = state.wait { state in
                    let found = state.use(place, limit, of: file.number)
                    if case .loading = found { return nil }
                    return found
                }
            }
            guard case .found(let block, let start, let count) = found else { break }
            let first = block * Self.blockSize + start
            let bytes = unsafe UnsafeRawBufferPointer(
                rebasing: memory.bytes[first..<first + count]
            )
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...]).copyMemory(from: bytes)
            let isBlockWanted = state.updateQuietly { state in
                state.blocks[block].users -= 1
                return !state.queue.isEmpty
            }
            if isBlockWanted { state.update { _ in } }
            done += count
        }
        return done
    }

    /// A part of a file was written, and nothing says so yet.
    func invalidate(_ file: FileStorage, _ range: Range<UInt64>) {
        guard usedBlocks.load(ordering: .sequentiallyConsistent) > 0 else { return }
        state.update { state in
            for index in state.blocks.indices
            where state.blocks[index].file == file.number
                && state.blocks[index].range.overlaps(range)
            {
                state.blocks[index].isStale = true
            }
        }
    }

    /// Waits until nothing is left to be read; for tests.
    func waitUntilIdle() {
        state.wait { state in
            state.queue.isEmpty && state.blocks.allSatisfy { $0.phase != .loading } ? () : nil
        }
    }

    private func work() {
        while true {
            var job = state.wait(milliseconds: Self.restTime) { self.nextJob(&$0) }
            if job == nil {
                rest()
                job = state.wait { self.nextJob(&$0) }
            }
            guard case .load(let request, let block) = job else { return }
            load(request, block)
        }
    }

    /// The next thing to do, for which a block is set aside; nil for nothing.
    private func nextJob(_ state: inout State) -> Job? {
        if state.isClosed { return .end }
        guard !state.queue.isEmpty, let block = state.victim() else { return nil }
        let request = state.queue.removeFirst()
        if state.blocks[block].phase == .free {
            // Before the read begins: see `usedBlocks`.
            usedBlocks.wrappingAdd(1, ordering: .sequentiallyConsistent)
        }
        state.blocks[block] = Block(
            phase: .loading,
            file: request.file.number,
            range: request.range
        )
        return .load(request, block: block)
    }

    private func load(_ request: Request, _ block: Int) {
        let start = block * Self.blockSize
        let wanted = request.range.upperBound - request.range.lowerBound
        let rounded = (Int(wanted) + Int(Self.alignment) - 1) & ~(Int(Self.alignment) - 1)
        let buffer = unsafe UnsafeMutableRawBufferPointer(
            rebasing: memory.bytes[start..<start + rounded]
        )
        // What was fetched just now is in memory: reading it from storage would have to wait until it
        // is there.
        guard !request.file.isInMemory(request.range) else {
            request.file.foundInMemory(request.range)
            return finish(block, request.range.lowerBound..<request.range.lowerBound)
        }
        // What cannot be read so is read by those who need it, and they will say why.
        let count =
            (try? unsafe request.file.readDirectly(into: buffer, at: request.range.lowerBound))
            ?? 0
        // What the kernel read ahead of the reads before nobody will read from there.
        if count > 0 { request.file.dropPages(request.range) }
        let end = request.range.lowerBound + min(UInt64(count), wanted)
        finish(block, request.range.lowerBound..<end)
    }

    /// A block holds what it is going to hold; one without a byte is free again.
    private func finish(_ block: Int, _ range: Range<UInt64>) {
        state.update { state in
            guard !range.isEmpty else {
                state.blocks[block] = Block()
                usedBlocks.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                return
            }
            state.clock += 1
            state.blocks[block].range = range
            state.blocks[block].phase = .ready
            state.blocks[block].lastUse = state.clock
        }
    }

    /// Frees all blocks and gives their memory back, unless one is in use.
    private func rest() {
        state.update { state in
            guard state.blocks.allSatisfy({ $0.users == 0 && $0.phase != .loading }) else { return }
            for index in state.blocks.indices { state.blocks[index] = Block() }
            usedBlocks.store(0, ordering: .sequentiallyConsistent)
            memory.discardPages()
        }
    }
}

extension StorageReader.State {
    /// Counts the caller as a user of the block that holds a place.
    fileprivate mutating func use(
        _ place: UInt64,
        _ limit: Int,
        of file: UInt64
    ) -> StorageReader.Lookup {
        // A reader that is there already needs nobody to read ahead.
        queue.removeAll { $0.file.number == file && $0.range.contains(place) }
        guard let index = blocks.firstIndex(where: { $0.holds(place, of: file) }) else {
            return .missing
        }
        guard blocks[index].phase == .ready else { return .loading }
        let range = blocks[index].range
        let count = min(limit, Int(range.upperBound - place))
        clock += 1
        blocks[index].users += 1
        blocks[index].lastUse = clock
        return .found(block: index, start: Int(place - range.lowerBound), count: count)
    }

    /// The block that is loaded next: a free or stale one, or that which was used least recently.
    fileprivate func victim() -> Int? {
        func rank(_ block: StorageReader.Block) -> UInt64 {
            block.phase == .free || block.isStale ? 0 : block.lastUse
        }
        return blocks.indices
            .filter { blocks[$0].phase != .loading && blocks[$0].users == 0 }
            .min { rank(blocks[$0]) < rank(blocks[$1]) }
    }
}
