// SPDX-License-Identifier: Apache-2.0

import CZlib
package import Content

/// Writes one gzip member at level 6: layers that every client must be able to unpack.
///
/// zlib writes no name, time 0 and operating system 3 (Unix): the same bytes give the same file.
@safe
package final class GzipEncoder {
    // zlib's state points back at the z_stream, so it must not move: allocated in init, freed in
    // deinit.
    private let stream: UnsafeMutablePointer<z_stream>
    private let isReady: Bool
    private var piece = [UInt8](repeating: 0, count: 256 << 10)
    private var result: [UInt8] = []

    /// A member without content yet.
    package init() {
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // 15 bits of window, plus 16: zlib writes gzip's header and trailer.
        unsafe isReady = czlib_deflate_init(stream, 6, 15 + 16) == Z_OK
    }

    deinit {
        if isReady { _ = unsafe deflateEnd(stream) }
        unsafe stream.deallocate()
    }

    /// Takes the next bytes of content.
    ///
    /// - Parameter bytes: the bytes.
    /// - Throws: `ContentError` if there is no memory.
    package func write(_ bytes: RawSpan) throws(ContentError) {
        var done = 0
        while done < bytes.byteCount {
            // zlib counts in 32 bits: long input goes in pieces.
            let part = bytes.extracting(done..<min(bytes.byteCount, done + 1 << 30))
            done += try step(part, Z_NO_FLUSH).taken
        }
    }

    /// Ends the member; no more may be written.
    ///
    /// - Returns: the gzip file.
    /// - Throws: `ContentError` if there is no memory.
    package func finish() throws(ContentError) -> [UInt8] {
        while try !step(RawSpan(), Z_FINISH).isEnd {}
        return result
    }

    /// Compresses the bytes into one gzip member.
    ///
    /// - Parameter bytes: the content.
    /// - Returns: the gzip file.
    /// - Throws: `ContentError` if there is no memory.
    package static func compress(_ bytes: [UInt8]) throws(ContentError) -> [UInt8] {
        let encoder = GzipEncoder()
        try encoder.write(bytes.rawSpan)
        return try encoder.finish()
    }

    private func step(
        _ input: RawSpan,
        _ flush: Int32
    ) throws(ContentError) -> (taken: Int, isEnd: Bool) {
        guard isReady else { throw ContentError(.inputOutput, "no memory to compress gzip") }
        let (code, taken, made) = unsafe input.withUnsafeBytes { input in
            unsafe piece.withUnsafeMutableBytes { output in
                unsafe deflate(input, into: output, flush)
            }
        }
        result.append(contentsOf: piece[..<made])
        guard code == Z_STREAM_END || code == Z_OK, code == Z_STREAM_END || taken > 0 || made > 0
        else { throw ContentError(.inputOutput, "gzip compression failed (code \(code))") }
        return (taken, code == Z_STREAM_END)
    }

    private func deflate(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        _ flush: Int32
    ) -> (code: Int32, taken: Int, made: Int) {
        // zlib does not write through next_in; its type lacks const for history's sake.
        unsafe stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        )
        unsafe stream.pointee.avail_in = UInt32(input.count)
        unsafe stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_out = UInt32(output.count)
        let code = unsafe CZlib.deflate(stream, flush)
        return unsafe (
            code, input.count - Int(stream.pointee.avail_in),
            output.count - Int(stream.pointee.avail_out)
        )
    }
}
