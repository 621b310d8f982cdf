// SPDX-License-Identifier: Apache-2.0

import CLZ4
import CZstd
package import Content

/// Decompresses chunks; but for the first gzip chunk, calls allocate nothing.
@safe
package struct ChunkDecompressor: ~Copyable {
    // Owned: made in init, freed in deinit.
    private let context: OpaquePointer
    // Made by the first gzip chunk: few images have any.
    private var decoder: InflateDecoder?

    /// A decompressor, to be used for one chunk after another.
    ///
    /// - Throws: `ContentError` if there is no memory.
    package init() throws(ContentError) {
        guard let context = unsafe ZSTD_createDCtx() else {
            throw ContentError(.inputOutput, "no memory to decompress")
        }
        unsafe self.context = context
    }

    deinit {
        _ = unsafe ZSTD_freeDCtx(context)
    }

    /// Decompresses one chunk.
    ///
    /// - Parameters:
    ///   - stored: the chunk as it is stored, and nothing else.
    ///   - compressor: how it was compressed.
    ///   - output: filled whole by its content; undefined if an error is thrown.
    /// - Throws: `ContentError` if the chunk is corrupt, or holds fewer or more bytes than the
    ///   output takes.
    package mutating func decompress(
        _ stored: UnsafeRawBufferPointer,
        by compressor: Compressor,
        into output: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let count =
            switch compressor {
            case .none: try unsafe Self.copy(stored, into: output)
            case .lz4: try unsafe Self.decodeLZ4(stored, into: output)
            case .gzip: try unsafe inflate(stored, into: output)
            case .zstd: try unsafe decodeZstd(stored, into: output)
            }
        guard count == output.count else {
            throw .corrupt("chunk holds \(count) bytes, \(output.count) expected")
        }
    }

    private static func copy(
        _ stored: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard stored.count == output.count else {
            throw .corrupt("\(stored.count) bytes are stored uncompressed for \(output.count)")
        }
        unsafe output.copyMemory(from: stored)
        return stored.count
    }

    private static func decodeLZ4(
        _ stored: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard let storedCount = Int32(exactly: stored.count),
            let outputCount = Int32(exactly: output.count)
        else {
            throw ContentError(.limitExceeded, "an LZ4 block of \(stored.count) bytes")
        }
        let count = unsafe LZ4_decompress_safe(
            stored.baseAddress?.assumingMemoryBound(to: CChar.self),
            output.baseAddress?.assumingMemoryBound(to: CChar.self),
            storedCount,
            outputCount
        )
        guard count >= 0 else {
            throw .corrupt("LZ4 block of the chunk is damaged, cut off or larger than expected")
        }
        return Int(count)
    }

    /// One gzip member: nydus makes no others.
    private mutating func inflate(
        _ stored: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        var header = GzipHeader()
        let (headerSize, headerFault) = unsafe header.take(stored)
        if let headerFault { throw .corrupt("gzip member of the chunk: \(headerFault.text)") }
        let decoder = self.decoder ?? InflateDecoder()
        self.decoder = decoder
        decoder.restart()
        var count = 0
        let deflated = unsafe UnsafeRawBufferPointer(rebasing: stored[headerSize...])
        let (consumed, status) = unsafe decoder.decode(deflated, into: output, at: &count)
        switch status {
        case .streamEnd where deflated.count - consumed >= GzipTrailer.size: break
        case .streamEnd, .needsInput, .outputFull, .blockBoundary:
            throw .corrupt("gzip member of the chunk is cut off or larger than expected")
        case .failed(let fault): throw .corrupt("gzip member of the chunk: \(fault.rawValue)")
        }
        let rest = unsafe RawSpan(_unsafeBytes: deflated).extracting(consumed...)
        var trailer = GzipTrailer()
        unsafe trailer.append(UnsafeRawBufferPointer(rebasing: output[..<count]))
        let checksum = try rest.littleEndian(UInt32.self, at: 0)
        let size = try rest.littleEndian(UInt32.self, at: 4)
        if let fault = trailer.fault(checksum: checksum, size: size) { throw .corrupt(fault) }
        guard rest.byteCount == GzipTrailer.size else {
            throw .corrupt("garbage after the gzip member of the chunk")
        }
        return count
    }

    /// One or more zstd frames.
    private func decodeZstd(
        _ stored: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        var rest = unsafe stored
        var done = 0
        repeat {
            let magic = try unsafe RawSpan(_unsafeBytes: rest).littleEndian(UInt32.self, at: 0)
            guard ZstdMagic.isFrame(magic) else {
                throw .corrupt("no zstd frame at offset \(stored.count - rest.count) of the chunk")
            }
            let frameSize = unsafe ZSTD_findFrameCompressedSize(rest.baseAddress, rest.count)
            guard ZSTD_isError(frameSize) == 0, frameSize > 0, frameSize <= rest.count else {
                throw .corrupt("zstd frame of the chunk is damaged or cut off")
            }
            let count = unsafe ZSTD_decompressDCtx(
                context,
                output.baseAddress?.advanced(by: done),
                output.count - done,
                rest.baseAddress,
                frameSize
            )
            guard ZSTD_isError(count) == 0, count <= output.count - done else {
                throw .corrupt("chunk cannot be decoded (\(zstdErrorName(count)))")
            }
            done += count
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[frameSize...])
        } while rest.count > 0
        return done
    }
}

extension Compressor {
    /// Decompresses metadata whose size is known: tables of a blob, an inlined bootstrap.
    ///
    /// - Parameters:
    ///   - stored: the bytes as they are stored, and nothing else.
    ///   - expectedSize: the exact size of the content in bytes.
    ///   - limit: the largest size that is accepted, in bytes.
    /// - Returns: the content.
    /// - Throws: `ContentError` if the size is over the limit or the bytes do not hold exactly that
    ///   much.
    package func decompress(
        _ stored: RawSpan,
        expectedSize: Int,
        limit: Int
    ) throws(ContentError) -> [UInt8] {
        guard expectedSize >= 0, expectedSize <= limit else {
            throw ContentError(
                .limitExceeded,
                "\(expectedSize) bytes of compressed metadata, at most \(limit) are accepted"
            )
        }
        var decompressor = try ChunkDecompressor()
        var content = [UInt8](repeating: 0, count: expectedSize)
        var failure: ContentError?
        unsafe stored.withUnsafeBytes { bytes in
            unsafe content.withUnsafeMutableBytes { output in
                do throws(ContentError) {
                    try unsafe decompressor.decompress(bytes, by: self, into: output)
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
        return content
    }
}
