// SPDX-License-Identifier: Apache-2.0

import CZlib

/// What zlib makes of bytes: the reference for our own decoder.
package enum Zlib {
    /// How a stream is framed; zlib's numbers for the largest window.
    package enum Framing: Int32, Sendable {
        /// DEFLATE and nothing else (RFC 1951).
        case none = -15
        /// One gzip member (RFC 1952).
        case gzip = 31
    }

    /// How zlib deflates.
    package struct Parameters: Sendable {
        /// 0, stored, to 9.
        package var level: Int32 = 6
        /// zlib's Z_DEFAULT_STRATEGY, 0, to Z_FIXED, 4.
        package var strategy: Int32 = 0
        /// 1 to 9: the more, the more symbols in a block.
        package var memoryLevel: Int32 = 8
        /// What follows each piece of the content: zlib's Z_NO_FLUSH, 0, to Z_FULL_FLUSH, 3, or
        /// Z_BLOCK, 5.
        package var flush: Int32 = 0
        /// Bytes of a piece.
        package var pieceSize = Int.max

        /// As gzip deflates.
        package init() {}
    }

    /// How a stream ends.
    package enum Verdict: Sendable, Equatable {
        /// As it should; so many bytes are its own.
        case end(consumed: Int)
        /// There is something wrong, in zlib's words.
        case corrupt(String)
        /// It needs more.
        case truncated
        /// More content than asked for.
        case limit
    }

    /// Inflates one stream.
    ///
    /// - Parameters:
    ///   - stored: the stream, and perhaps more.
    ///   - framing: how it is framed.
    ///   - limit: ends when there are that many bytes of content, or a few more.
    /// - Returns: the content up to the end or to what is wrong, and how it ended.
    package static func inflate(
        _ stored: [UInt8],
        _ framing: Framing = .none,
        limit: Int = 1 << 24
    ) -> (content: [UInt8], verdict: Verdict) {
        var stream = unsafe z_stream()
        guard unsafe czlib_inflate_init(&stream, framing.rawValue) == Z_OK else {
            return ([], .corrupt("no memory"))
        }
        defer { _ = unsafe inflateEnd(&stream) }
        var content: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        var input = stored
        while true {
            let before = unsafe stream.total_in
            let code = unsafe input.withUnsafeMutableBufferPointer { input in
                unsafe piece.withUnsafeMutableBufferPointer { output in
                    unsafe stream.next_in = input.baseAddress.map { unsafe $0 + Int(before) }
                    unsafe stream.avail_in = UInt32(input.count - Int(before))
                    unsafe stream.next_out = output.baseAddress
                    unsafe stream.avail_out = UInt32(output.count)
                    return unsafe CZlib.inflate(&stream, Z_NO_FLUSH)
                }
            }
            let made = unsafe piece.count - Int(stream.avail_out)
            content += piece[..<made]
            if code == Z_STREAM_END {
                return (content, .end(consumed: unsafe Int(stream.total_in)))
            }
            guard code == Z_OK || code == Z_BUF_ERROR else {
                let message = unsafe stream.msg.map { unsafe String(cString: $0) }
                return (content, .corrupt(message ?? "code \(code)"))
            }
            if content.count >= limit { return (content, .limit) }
            if made == 0, unsafe stream.total_in == before { return (content, .truncated) }
        }
    }

    /// Deflates content.
    ///
    /// - Parameters:
    ///   - content: the content.
    ///   - framing: how the stream is to be framed.
    ///   - parameters: how it is to be deflated; numbers that zlib does not know give nothing.
    /// - Returns: the stream.
    package static func deflate(
        _ content: [UInt8],
        _ framing: Framing = .none,
        _ parameters: Parameters = Parameters()
    ) -> [UInt8] {
        var stream = unsafe z_stream()
        let code = unsafe deflateInit2_(
            &stream,
            parameters.level,
            Z_DEFLATED,
            framing.rawValue,
            parameters.memoryLevel,
            parameters.strategy,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard code == Z_OK else { return [] }
        defer { _ = unsafe deflateEnd(&stream) }
        var stored: [UInt8] = []
        var done = 0
        while true {
            let end = done + min(parameters.pieceSize, content.count - done)
            let isLast = end == content.count
            let flush = isLast ? Z_FINISH : parameters.flush
            stored += unsafe deflate(&stream, Array(content[done..<end]), flush)
            if isLast { return stored }
            done = end
        }
    }

    private static func deflate(
        _ stream: inout z_stream,
        _ content: [UInt8],
        _ flush: Int32
    ) -> [UInt8] {
        var stored: [UInt8] = []
        var input = content
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        var done = 0
        while true {
            unsafe input.withUnsafeMutableBufferPointer { input in
                unsafe piece.withUnsafeMutableBufferPointer { output in
                    unsafe stream.next_in = input.baseAddress.map { unsafe $0 + done }
                    unsafe stream.avail_in = UInt32(input.count - done)
                    unsafe stream.next_out = output.baseAddress
                    unsafe stream.avail_out = UInt32(output.count)
                    _ = unsafe CZlib.deflate(&stream, flush)
                }
            }
            done = unsafe input.count - Int(stream.avail_in)
            stored += piece[..<(unsafe piece.count - Int(stream.avail_out))]
            // zlib has more to say as long as it fills the output.
            if unsafe stream.avail_out > 0 { return stored }
        }
    }

    /// zlib's CRC-32 of the bytes.
    package static func checksum(_ bytes: [UInt8], after checksum: UInt32 = 0) -> UInt32 {
        UInt32(truncatingIfNeeded: unsafe crc32(UInt(checksum), bytes, UInt32(bytes.count)))
    }
}
