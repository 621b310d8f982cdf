// SPDX-License-Identifier: Apache-2.0

import CZstd
package import Content

/// The content of zstd frames (RFC 8878) one after another; skippable frames give nothing.
@safe
package struct ZstdDecoder<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var input: BufferedStream<Source>
    private let decompressor: FrameDecompressor
    private var isInsideFrame = false
    private var isAtStart = true
    private let frames: FrameList?

    /// How many bytes of content were given out so far.
    package private(set) var uncompressedOffset = UncompressedOffset(0)

    /// The content of the stored bytes.
    ///
    /// - Parameters:
    ///   - source: zstd frames and nothing else; read on demand, to its end.
    ///   - windowLogMaximum: the largest window that is accepted, as a power of two: 10...31. The
    ///     decoder keeps a window in memory; 27 (128 MiB) is what `zstd -d` accepts unasked.
    ///   - frames: is told of every frame.
    package init(
        _ source: consuming Source,
        windowLogMaximum: Int32 = 27,
        frames: FrameList? = nil
    ) {
        self.frames = frames
        input = BufferedStream(source)
        decompressor = FrameDecompressor(windowLogMaximum: windowLogMaximum)
    }

    /// How many stored bytes were decoded so far.
    package var compressedOffset: CompressedOffset { CompressedOffset(input.offset) }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        while true {
            if !isInsideFrame, try !beginFrame() { return 0 }
            let count = try unsafe decode(into: buffer)
            if count > 0 { return count }
        }
    }

    /// Looks at the next frame's magic number; false at the end.
    private mutating func beginFrame() throws(ContentError) -> Bool {
        let available = try input.fill(atLeast: ZstdMagic.byteCount)
        guard available > 0 else {
            guard !isAtStart else { throw truncated("empty instead of zstd") }
            return false
        }
        guard available >= ZstdMagic.byteCount else {
            throw truncated("ends inside a zstd frame header")
        }
        guard ZstdMagic.isFrame(try input.buffered.littleEndian(UInt32.self, at: 0)) else {
            throw corrupt(isAtStart ? "no zstd magic number" : "garbage after the last zstd frame")
        }
        isAtStart = false
        isInsideFrame = true
        return true
    }

    private mutating func decode(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard let context = unsafe decompressor.context else {
            throw ContentError(.inputOutput, "no memory to decode zstd")
        }
        let available = try input.fill(atLeast: 1)
        var output = unsafe ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
        var consumed = 0
        let code = unsafe input.buffered.withUnsafeBytes { bytes in
            var stored = unsafe ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
            let code = unsafe ZSTD_decompressStream(context, &output, &stored)
            unsafe consumed = stored.pos
            return code
        }
        input.consume(consumed)
        let produced = unsafe output.pos
        uncompressedOffset.bytes &+= UInt64(produced)
        guard ZSTD_isError(code) == 0 else {
            if ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge {
                throw .unsupported("zstd window of more than 128 MiB \(place)")
            }
            throw corrupt("zstd data cannot be decoded (\(zstdErrorName(code)))")
        }
        if code == 0 {
            isInsideFrame = false
            frames?.endFrame(stored: compressedOffset, content: uncompressedOffset)
        } else if produced == 0, consumed == 0 {
            guard available == 0 else { throw corrupt("zstd data makes no progress") }
            throw truncated("ends inside a zstd frame")
        }
        return produced
    }

    private func truncated(_ text: String) -> ContentError {
        .truncated("\(text) \(place)")
    }

    private func corrupt(_ text: String) -> ContentError {
        .corrupt("\(text) \(place)")
    }

    private var place: String {
        "at compressed offset \(compressedOffset), uncompressed offset \(uncompressedOffset)"
    }
}

/// libzstd's decoder state: a class, for the reason that `BufferMemory` in Content gives.
@safe
private final class FrameDecompressor {
    // Owned: made in init, freed in deinit; nil if there was no memory, which `read` tells.
    let context: OpaquePointer?

    init(windowLogMaximum: Int32) {
        let context = unsafe ZSTD_createDCtx()
        if let context = unsafe context {
            _ = unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, windowLogMaximum)
        }
        unsafe self.context = context
    }

    deinit {
        _ = unsafe ZSTD_freeDCtx(context)
    }
}

/// libzstd's words for one of its error codes.
func zstdErrorName(_ code: Int) -> String {
    unsafe ZSTD_getErrorName(code).map { unsafe String(cString: $0) } ?? "code \(code)"
}
