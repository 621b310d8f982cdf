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
    /// Whether the blob must end in a table of contents: those of nydus before 2.2 do not.
    private let hasTOC: Bool
    /// What the tree of its layer may cost.
    private let limits: BootstrapLimits
    private let meter: LayerProgressMeter

    init(
        _ blob: Descriptor,
        of source: any ImageSource,
        chunks: ImageMetadata.BlobChunks?,
        hasTOC: Bool,
        limits: BootstrapLimits,
        meter: LayerProgressMeter
    ) {
        self.source = source
        self.blob = blob
        self.chunks = chunks
        self.hasTOC = hasTOC
        self.limits = limits
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
        // What describes another blob has none of its chunks.
        if let chunks, blob.originalLayer == nil {
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
        // The chunk, or the batch it is a member of.
        var unit = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        for index in 0..<chunks.table.count {
            let chunk = try chunks.chunk(at: index)
            if try places.take(chunk, at: index) {
                unsafe unit = try unsafe readUnit(
                    of: chunk,
                    at: index,
                    chunks.coding,
                    &stream,
                    &decompressor,
                    storedMemory,
                    contentMemory
                )
            }
            let start = Int(chunk.unitOffset)
            let content = unsafe unit[start..<start + Int(chunk.uncompressedSize)]
            try check(
                unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: content)),
                of: chunk,
                at: index,
                chunks.coding
            )
            meter.report()
        }
    }

    /// Reads what is stored next, and decompresses it.
    private func readUnit(
        of chunk: Chunk,
        at index: Int,
        _ coding: ChunkCoding,
        _ stream: inout VerifyingStream<AnyByteStream>,
        _ decompressor: inout ChunkDecompressor,
        _ storedMemory: UnsafeMutableRawBufferPointer,
        _ contentMemory: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> UnsafeRawBufferPointer {
        let stored = unsafe UnsafeMutableRawBufferPointer(
            rebasing: storedMemory[..<Int(chunk.compressedSize)]
        )
        guard try unsafe stream.readFully(into: stored) == stored.count else {
            throw .truncated("the blob ends in chunk \(index) at \(chunk.compressedOffset)")
        }
        guard chunk.isCompressed else { return UnsafeRawBufferPointer(stored) }
        let output = unsafe UnsafeMutableRawBufferPointer(
            rebasing: contentMemory[..<Int(chunk.unitSize)]
        )
        do throws(ContentError) {
            try unsafe decompressor.decompress(
                UnsafeRawBufferPointer(stored),
                by: coding.compressor,
                into: output
            )
        } catch {
            throw error.at("chunk \(index) at \(chunk.compressedOffset)")
        }
        return UnsafeRawBufferPointer(output)
    }

    private func check(
        _ content: RawSpan,
        of chunk: Chunk,
        at index: Int,
        _ coding: ChunkCoding
    ) throws(ContentError) {
        // Nobody says the digest, and no file of the image has the chunk: the blob's own must do.
        guard chunk.digest != .zero else { return }
        let digest = coding.digester.digest(of: content)
        guard digest == chunk.digest else {
            throw .corrupt(
                "chunk \(index) at \(chunk.compressedOffset)+\(chunk.compressedSize):"
                    + " digest mismatch: expected \(coding.digester):\(chunk.digest.hex),"
                    + " found \(digest.hex)"
            )
        }
    }

    /// Checks the parts after the chunks against the bootstrap layer.
    private func checkTail() throws {
        let parts = BlobParts(try source.blobSource(blob))
        guard let toc = try parts.tableOfContents() else {
            guard !hasTOC else {
                throw ContentError.corrupt("it does not end in a table of contents")
            }
            return
        }
        for entry in toc.entries where entry.name != BlobTOC.Name.chunks {
            let content = try parts.part(entry)
            switch entry.name {
            case BlobTOC.Name.bootstrap:
                let layout = try BootstrapLayout(content.rawSpan)
                _ = try Bootstrap(bytes: content.rawSpan, layout: layout)
                    .tree(limits: limits)
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
        // Without chunks there is nothing else that it could be for.
        let hasBootstrap = chunks?.table.features.contains(.inlinedBootstrap) ?? true
        guard !hasBootstrap || toc.entry(named: BlobTOC.Name.bootstrap) != nil else {
            throw ContentError.corrupt("it carries no bootstrap of its layer")
        }
    }
}

/// Where chunks may be: stored without gaps from the blob's start, and one after another in the
/// uncompressed view, where two at one place would overwrite each other in a cache.
private struct ChunkPlaces {
    let viewSize: UInt64
    private(set) var storedEnd: UInt64 = 0
    private var viewEnd: UInt64 = 0
    /// What was taken last: a batch is stored once for all its members.
    private var last: Chunk?

    init(viewSize: UInt64) {
        self.viewSize = viewSize
    }

    /// Takes the next chunk's places, all within 2^44 by the width of their fields.
    ///
    /// - Returns: false if it is stored together with the one before it.
    mutating func take(_ chunk: Chunk, at index: Int) throws(ContentError) -> Bool {
        let isNew = last?.sharesUnit(with: chunk) != true
        guard !isNew || chunk.compressedOffset.bytes == storedEnd,
            chunk.isPlausible(maximumSize: BootstrapFormat.maximumChunkSize)
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
        if isNew { storedEnd += UInt64(chunk.compressedSize) }
        viewEnd = end.roundedUp(toMultipleOf: Chunk.alignment)
        last = chunk
        return isNew
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
