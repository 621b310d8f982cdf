// SPDX-License-Identifier: Apache-2.0

/// Bytes that are read once, front to back.
package protocol ByteStream: ~Copyable {
    /// Reads the next bytes.
    ///
    /// - Parameter buffer: takes the bytes from its start; not empty.
    /// - Returns: how many bytes were read, at least 1; 0 only at the end of the stream.
    /// - Throws: `ContentError` if the bytes cannot be had or contradict their format.
    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
}

/// Takes bytes one after another.
package protocol ByteSink: ~Copyable {
    /// Takes the next bytes; they are not kept beyond the call unless copied.
    ///
    /// - Parameter bytes: the bytes.
    /// - Throws: `ContentError` if they cannot be stored.
    mutating func write(_ bytes: RawSpan) throws(ContentError)
}

/// Bytes in memory as a stream.
package struct ArrayStream: ByteStream {
    private let bytes: [UInt8]
    private var position = 0

    /// The bytes as a stream, from their start.
    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        let count = min(buffer.count, bytes.count - position)
        unsafe buffer.copyBytes(from: bytes[position..<position + count])
        position += count
        return count
    }
}
