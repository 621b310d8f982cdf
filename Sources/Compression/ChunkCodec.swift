// SPDX-License-Identifier: Apache-2.0

import CZstd
package import Content

/// Compresses chunks, each into one zstd frame.
///
/// A frame says its content size and has no checksum: the chunk's digest is checked anyway. The
/// same bytes at the same level give the same frame, whatever was compressed before.
@safe
package struct ChunkCompressor: ~Copyable {
    // Owned: made in init, freed in deinit.
    private let context: OpaquePointer
    // Room for the largest frame so far; replaced when a chunk needs more, freed in deinit.
    private var scratch: UnsafeMutableRawBufferPointer

    /// The version of libzstd, as three numbers in one: with another one the same chunk may have
    /// other bytes.
    package static var libraryVersion: UInt32 { ZSTD_versionNumber() }

    /// A compressor at a level.
    ///
    /// - Parameter level: zstd's level; 3 is zstd's own default.
    /// - Throws: `ContentError` if there is no memory or no such level.
    package init(level: Int32 = 3) throws(ContentError) {
        // libzstd would take the nearest level it has.
        guard level >= ZSTD_minCLevel(), level <= ZSTD_maxCLevel() else {
            throw .unsupported(
                "zstd level \(level), there are \(ZSTD_minCLevel())...\(ZSTD_maxCLevel())"
            )
        }
        guard let context = unsafe ZSTD_createCCtx() else {
            throw ContentError(.inputOutput, "no memory to compress")
        }
        let code = unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        guard ZSTD_isError(code) == 0 else {
            _ = unsafe ZSTD_freeCCtx(context)
            throw .unsupported("zstd level \(level) (\(zstdErrorName(code)))")
        }
        unsafe self.context = context
        unsafe scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    deinit {
        unsafe scratch.deallocate()
        _ = unsafe ZSTD_freeCCtx(context)
    }

    /// Compresses a chunk.
    ///
    /// - Parameters:
    ///   - bytes: the chunk's content.
    ///   - output: replaced by the frame; empty if the result is false. Its capacity is kept.
    /// - Returns: false if the frame is not smaller than the content, which is then stored as it is.
    /// - Throws: `ContentError` if there is no memory.
    package mutating func compress(
        _ bytes: RawSpan,
        into output: inout [UInt8]
    ) throws(ContentError) -> Bool {
        output.removeAll(keepingCapacity: true)
        let bound = ZSTD_compressBound(bytes.byteCount)
        if unsafe scratch.count < bound {
            unsafe scratch.deallocate()
            unsafe scratch = .allocate(byteCount: bound, alignment: 64)
        }
        let (context, scratch) = unsafe (context, scratch)
        let size = unsafe bytes.withUnsafeBytes { content in
            unsafe ZSTD_compress2(
                context,
                scratch.baseAddress,
                scratch.count,
                content.baseAddress,
                content.count
            )
        }
        guard ZSTD_isError(size) == 0 else {
            throw ContentError(.inputOutput, "zstd compression failed (\(zstdErrorName(size)))")
        }
        guard size < bytes.byteCount else { return false }
        unsafe output.append(contentsOf: scratch[..<size])
        return true
    }
}

/// Metadata that is compressed as a whole: tables of a blob, an inlined bootstrap.
package enum ZstdBuffer {
    /// Compresses the bytes into one zstd frame, larger than the bytes if they do not compress.
    ///
    /// - Parameters:
    ///   - bytes: the bytes.
    ///   - level: zstd's level.
    /// - Returns: the frame.
    /// - Throws: `ContentError` if there is no memory or no such level.
    package static func compress(
        _ bytes: [UInt8],
        level: Int32 = 3
    ) throws(ContentError) -> [UInt8] {
        let bound = ZSTD_compressBound(bytes.count)
        var size = 0
        let frame = unsafe [UInt8](unsafeUninitializedCapacity: bound) { output, count in
            unsafe size = ZSTD_compress(output.baseAddress, output.count, bytes, bytes.count, level)
            count = ZSTD_isError(size) == 0 ? size : 0
        }
        guard ZSTD_isError(size) == 0 else {
            throw ContentError(.inputOutput, "zstd compression failed (\(zstdErrorName(size)))")
        }
        return frame
    }
}
