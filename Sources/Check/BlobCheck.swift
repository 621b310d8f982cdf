// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import Linux
import OCI
import RAFS

/// Checks one data blob from its first to its last byte.
struct BlobCheck {
    private let source: any ImageSource
    private let blob: Descriptor
    /// The records of its chunks; nil for a blob that the bootstrap does not name.
    private let chunks: ImageMetadata.BlobChunks?
    private let meter: LayerProgressMeter

    init(
        _ blob: Descriptor,
        of source: any ImageSource,
        chunks: ImageMetadata.BlobChunks?,
        meter: LayerProgressMeter
    ) {
        self.source = source
        self.blob = blob
        self.chunks = chunks
        self.meter = meter
    }

    /// Checks the blob's digest, each chunk's digest, and that what stands at its end agrees.
    ///
    /// - Throws: an error that names the blob, and the chunk or part of it that is wrong.
    func run() throws {
        do {
            try checkContents()
            try checkTail()
        } catch let error as ContentError {
            let name = "blob \(blob.digest)"
            throw error.message.hasPrefix(name) ? error : error.at(name)
        }
    }

    private func checkContents() throws {
        var stream = VerifyingStream(
            try source.openBlob(blob),
            digest: blob.digest,
            size: blob.size,
            object: "blob \(blob.digest)",
            progress: meter.bytes
        )
        var firstFault: ContentError?
        let stored = try AnonymousMemory(byteCount: Self.maximumChunkSize)
        if let chunks {
            let content = try AnonymousMemory(byteCount: Self.maximumChunkSize)
            do throws(ContentError) {
                try unsafe checkChunks(chunks, &stream, stored.bytes, content.bytes)
            } catch {
                // Read on: that the whole blob is another one says more than its first fault.
                firstFault = error
            }
        }
        while try unsafe stream.read(into: stored.bytes) > 0 { meter.report() }
        if let firstFault { throw firstFault }
    }

    private static let maximumChunkSize = Int(BootstrapFormat.maximumChunkSize)

    /// Reads the chunks, which stand at the blob's start in the order of their indexes.
    private func checkChunks(
        _ chunks: ImageMetadata.BlobChunks,
        _ stream: inout VerifyingStream<AnyByteStream>,
        _ storedMemory: UnsafeMutableRawBufferPointer,
        _ contentMemory: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        var decompressor = try ChunkDecompressor()
        var places = ChunkPlaces(viewSize: chunks.viewSize)
        for index in 0..<chunks.table.count {
            let chunk = try chunks.chunk(at: index)
            try places.take(chunk, at: index)
            let stored = unsafe UnsafeMutableRawBufferPointer(
                rebasing: storedMemory[..<Int(chunk.compressedSize)]
            )
            guard try unsafe stream.readFully(into: stored) == stored.count else {
                throw .truncated("the blob ends in chunk \(index), before byte \(places.storedEnd)")
            }
            var content = UnsafeRawBufferPointer(stored)
            if chunk.isCompressed {
                let output = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: contentMemory[..<Int(chunk.uncompressedSize)]
                )
                do throws(ContentError) {
                    try unsafe decompressor.decompress(content, into: output)
                } catch {
                    throw error.at("chunk \(index) at \(chunk.compressedOffset)")
                }
                unsafe content = UnsafeRawBufferPointer(output)
            }
            let digest = unsafe StreamingDigest.digest(of: RawSpan(_unsafeBytes: content))
            guard digest == chunk.digest else {
                throw .corrupt(
                    "chunk \(index) at \(chunk.compressedOffset)+\(chunk.compressedSize):"
                        + " digest mismatch: expected \(chunk.digest), found \(digest)"
                )
            }
            meter.report()
        }
    }

    /// Checks the parts after the chunks against the bootstrap layer.
    private func checkTail() throws {
        let ranges = try source.blobSource(blob)
        let tailSize = min(UInt64(BlobTOC.maximumTailSize), ranges.size)
        let tail = try bytes(of: ranges, at: ranges.size - tailSize, count: tailSize)
        let toc = try BlobTOC(tail: tail.rawSpan, blobSize: ranges.size)
        for entry in toc.entries where entry.name != BlobTOC.Name.chunks {
            let content = try part(entry, ranges)
            switch entry.name {
            case BlobTOC.Name.bootstrap:
                let layout = try BootstrapLayout(content.rawSpan)
                _ = try Bootstrap(bytes: content.rawSpan, layout: layout).tree()
            case BlobTOC.Name.chunkDigests where chunks != nil && content != chunks?.digests:
                throw ContentError.corrupt("its chunk digests are not those of the bootstrap layer")
            case BlobTOC.Name.chunkInfo where chunks?.isTable(content, at: entry) == false:
                throw ContentError.corrupt(
                    "its chunk-info table is not that of the bootstrap layer"
                )
            default: break
            }
        }
        guard chunks == nil || toc.entry(named: BlobTOC.Name.chunkInfo) != nil else {
            throw ContentError.corrupt("it carries no chunk-info table")
        }
        guard toc.entry(named: BlobTOC.Name.bootstrap) != nil else {
            throw ContentError.corrupt("it carries no bootstrap of its layer")
        }
    }

    /// The most that a part other than the chunks may have, stored or uncompressed, in bytes.
    private static let partLimit = 4 << 30

    private func bytes(
        of ranges: any BlobSource,
        at offset: UInt64,
        count: UInt64
    ) throws(ContentError) -> [UInt8] {
        guard count <= UInt64(Self.partLimit) else {
            throw ContentError(.limitExceeded, "a part of \(count) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: Int(count))
        var span = bytes.mutableSpan
        try unsafe span.withUnsafeMutableBytes { (buffer) throws(ContentError) in
            try unsafe ranges.fetch(at: CompressedOffset(offset), into: buffer)
        }
        return bytes
    }

    /// A part of the blob, uncompressed and verified.
    private func part(
        _ entry: BlobTOC.Entry,
        _ ranges: any BlobSource
    ) throws(ContentError) -> [UInt8] {
        let stored = try bytes(of: ranges, at: entry.offset, count: entry.compressedSize)
        let content =
            entry.compressor == .zstd
            ? try ZstdBuffer.decompress(
                stored.rawSpan,
                expectedSize: Int(clamping: entry.uncompressedSize),
                limit: Self.partLimit
            ) : stored
        let digest = StreamingDigest.digest(of: content)
        guard entry.digest == .zero || digest == entry.digest else {
            throw .corrupt(
                "part \(entry.name): digest mismatch: expected \(entry.digest), found \(digest)"
            )
        }
        return content
    }
}

/// Where chunks may be: stored without gaps from the blob's start, and one after another in the
/// uncompressed view, where two at one place would overwrite each other in a cache.
private struct ChunkPlaces {
    let viewSize: UInt64
    private(set) var storedEnd: UInt64 = 0
    private var viewEnd: UInt64 = 0

    init(viewSize: UInt64) {
        self.viewSize = viewSize
    }

    /// Takes the next chunk's places, all within 2^44 by the width of their fields.
    mutating func take(_ chunk: Chunk, at index: Int) throws(ContentError) {
        let sizes = 1...BootstrapFormat.maximumChunkSize
        guard chunk.compressedOffset.bytes == storedEnd, sizes.contains(chunk.compressedSize),
            sizes.contains(chunk.uncompressedSize)
        else {
            throw .corrupt(
                "chunk \(index) is said to be at \(chunk.compressedOffset)"
                    + "+\(chunk.compressedSize), but the one before it ends at \(storedEnd)"
            )
        }
        let start = chunk.uncompressedOffset.bytes
        let end = start + UInt64(chunk.uncompressedSize)
        guard start >= viewEnd, end <= viewSize else {
            throw .corrupt(
                "chunk \(index) is said to be at \(start)+\(chunk.uncompressedSize) of a view of"
                    + " \(viewSize) bytes, in which the one before it ends at \(viewEnd)"
            )
        }
        storedEnd += UInt64(chunk.compressedSize)
        viewEnd = end.roundedUp(toMultipleOf: Chunk.alignment)
    }
}

extension ImageMetadata.BlobChunks {
    /// Whether that is the very table, at the place where readers of the bootstrap look for it.
    fileprivate func isTable(_ content: [UInt8], at entry: BlobTOC.Entry) -> Bool {
        let location = table.location
        return entry.offset == location.offset && entry.compressor == location.compressor
            && entry.compressedSize == location.compressedSize
            && UInt64(content.count) == location.uncompressedSize
            && infoFile.starts(with: content)
    }
}
