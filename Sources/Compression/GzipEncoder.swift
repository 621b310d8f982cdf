// SPDX-License-Identifier: Apache-2.0

import CZlib
package import Content

/// Writes gzip files of small layers that every client must be able to unpack.
package enum GzipEncoder {
    /// Compresses the bytes into one gzip member at level 6.
    ///
    /// zlib writes no name, time 0 and operating system 3 (Unix): the same bytes give the same
    /// file.
    ///
    /// - Parameter bytes: the content.
    /// - Returns: the gzip file.
    /// - Throws: `ContentError` if there is no memory.
    package static func compress(_ bytes: [UInt8]) throws(ContentError) -> [UInt8] {
        var stream = unsafe z_stream()
        guard unsafe czlib_deflate_init(&stream, 6, 15 + 16) == Z_OK else {
            throw ContentError(.inputOutput, "no memory to compress gzip")
        }
        defer { _ = unsafe deflateEnd(&stream) }
        var result: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 256 << 10)
        var done = 0
        while true {
            // zlib counts in 32 bits: long input goes in pieces.
            let count = min(bytes.count - done, 1 << 30)
            let isLast = done + count == bytes.count
            let (code, taken, made) = unsafe bytes.withUnsafeBytes { input in
                unsafe piece.withUnsafeMutableBytes { output in
                    unsafe step(
                        &stream,
                        UnsafeRawBufferPointer(rebasing: input[done..<done + count]),
                        output,
                        isLast ? Z_FINISH : Z_NO_FLUSH
                    )
                }
            }
            done += taken
            result.append(contentsOf: piece[..<made])
            if code == Z_STREAM_END { return result }
            guard code == Z_OK || code == Z_BUF_ERROR, taken > 0 || made > 0 else {
                throw ContentError(.inputOutput, "gzip compression failed (code \(code))")
            }
        }
    }

    private static func step(
        _ stream: inout z_stream,
        _ input: UnsafeRawBufferPointer,
        _ output: UnsafeMutableRawBufferPointer,
        _ flush: Int32
    ) -> (code: Int32, taken: Int, made: Int) {
        unsafe stream.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        )
        unsafe stream.avail_in = UInt32(input.count)
        unsafe stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        unsafe stream.avail_out = UInt32(output.count)
        let code = unsafe deflate(&stream, flush)
        return unsafe (
            code, input.count - Int(stream.avail_in), output.count - Int(stream.avail_out)
        )
    }
}
