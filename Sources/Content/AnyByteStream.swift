// SPDX-License-Identifier: Apache-2.0

/// Any byte stream, its type forgotten.
package struct AnyByteStream: ~Copyable, ByteStream {
    private var base: any ByteStream & ~Copyable

    /// The stream behind one type.
    package init(_ base: consuming some ByteStream & ~Copyable) {
        self.base = base as any ByteStream & ~Copyable
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        try unsafe base.read(into: buffer)
    }
}

/// Collects bytes in memory.
package struct ArraySink: ByteSink {
    /// What was written so far.
    package private(set) var bytes: [UInt8] = []

    /// A sink that holds nothing.
    package init() {}

    package mutating func write(_ bytes: RawSpan) throws(ContentError) {
        unsafe bytes.withUnsafeBytes { unsafe self.bytes.append(contentsOf: $0) }
    }
}

extension ByteStream where Self: ~Copyable {
    /// Reads until the buffer is full or the stream ends.
    ///
    /// - Parameter buffer: takes the bytes from its start.
    /// - Returns: how many bytes were read; fewer than the buffer takes only at the end.
    /// - Throws: what reading throws.
    package mutating func readFully(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = try unsafe self.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            )
            guard count > 0 else { break }
            done += count
        }
        return done
    }

    /// Reads all that is left into memory.
    ///
    /// - Parameter limit: the most bytes that are accepted.
    /// - Returns: the bytes.
    /// - Throws: `ContentError` of kind `limitExceeded` if there are more; what reading throws.
    package mutating func readAll(limit: Int) throws(ContentError) -> [UInt8] {
        var result: [UInt8] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: 64 << 10,
            alignment: 16
        )
        defer { unsafe buffer.deallocate() }
        while true {
            let count = try unsafe self.read(into: buffer)
            guard count > 0 else { return result }
            guard count <= limit - result.count else {
                throw ContentError(.limitExceeded, "more than \(limit) bytes")
            }
            unsafe result.append(contentsOf: buffer[..<count])
        }
    }
}
