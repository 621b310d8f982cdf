// SPDX-License-Identifier: Apache-2.0

/// A stream with a buffer in front: bytes can be looked at before they are taken.
///
/// Headers cost no read of their own, and content that is asked for in large pieces goes past the
/// buffer, straight into the caller's memory.
@safe
package struct BufferedStream<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var source: Source
    // Bytes start..<end of it are read and not yet taken.
    private let storage: BufferMemory
    private var start = 0
    private var end = 0

    /// Whether the source has told its end; bytes may still be buffered.
    package private(set) var hasSourceEnded = false
    /// How many bytes were taken so far: the offset in the source of the next byte.
    package private(set) var offset: UInt64 = 0

    /// A buffer in front of the source.
    ///
    /// - Parameters:
    ///   - source: where the bytes come from; read on demand.
    ///   - capacity: the size of the buffer in bytes, at least 1.
    package init(_ source: consuming Source, capacity: Int = 256 << 10) {
        self.source = source
        storage = BufferMemory(byteCount: max(capacity, 1))
    }

    private var memory: UnsafeMutableRawBufferPointer { unsafe storage.bytes }

    /// The bytes that are read and not yet taken.
    package var buffered: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: memory[start..<end])
            // Safe: the memory lives as long as its owner, which this value keeps.
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: bytes), borrowing: self)
        }
    }

    /// Reads until at least that many bytes are buffered or the source ends.
    ///
    /// - Parameter count: at most the capacity.
    /// - Returns: how many bytes are buffered; fewer than asked only at the end of the source.
    /// - Throws: what the source throws.
    package mutating func fill(atLeast count: Int) throws(ContentError) -> Int {
        if start == end {
            start = 0
            end = 0
        } else if unsafe count > memory.count - start {
            unsafe memory.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: memory[start..<end])
            )
            end -= start
            start = 0
        }
        let capacity = unsafe memory.count
        while end - start < count, !hasSourceEnded, end < capacity {
            let read = unsafe try source.read(
                into: UnsafeMutableRawBufferPointer(rebasing: memory[end...])
            )
            if read == 0 { hasSourceEnded = true }
            end += read
        }
        return end - start
    }

    /// Takes bytes from the front of the buffer.
    ///
    /// - Parameter count: at most as many as are buffered.
    package mutating func consume(_ count: Int) {
        let taken = min(count, end - start)
        start += taken
        offset &+= UInt64(taken)
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        if start == end {
            if hasSourceEnded { return 0 }
            // Small reads go through the buffer, so that they do not become system calls.
            if unsafe buffer.count >= memory.count / 4 {
                let read = try unsafe source.read(into: buffer)
                if read == 0 { hasSourceEnded = true }
                offset &+= UInt64(read)
                return read
            }
            guard try fill(atLeast: 1) > 0 else { return 0 }
        }
        let count = min(buffer.count, end - start)
        unsafe buffer.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: memory[start..<start + count])
        )
        consume(count)
        return count
    }
}

/// The memory of a stream's buffer.
///
/// A class, since its `deinit` always runs: that of a generic noncopyable struct does not where
/// Swift 6.3 optimizes another module that uses it, and every stream would leak its buffer.
@safe
private final class BufferMemory {
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int) {
        unsafe bytes = .allocate(byteCount: byteCount, alignment: 4096)
    }

    deinit {
        unsafe bytes.deallocate()
    }
}
