// SPDX-License-Identifier: Apache-2.0

import Content
package import Distribution
import OCI
import RAFS

/// Chunks that converted images have already: a new image refers to them instead of storing them
/// again.
///
/// What a dictionary says of its chunks is believed here; every reader verifies a chunk by its
/// digest, and so does `check`.
package struct ChunkDictionary: Sendable {
    /// One data blob of a dictionary.
    struct Blob: Sendable {
        /// Names the blob at its source.
        let descriptor: Descriptor
        /// The blob as bootstraps name it.
        let entry: BlobTableEntry
        /// The records of its chunks.
        let records: ImageMetadata.BlobChunks
        fileprivate let source: any ImageSource

        /// The record of a chunk; nil if the blob has no such chunk.
        func chunk(at index: UInt32) -> Chunk? { try? records.chunk(at: Int(index)) }
    }

    /// A chunk's place.
    private struct Place {
        var blob: UInt16
        var index: UInt32
        var size: UInt32
    }

    /// The blobs: those of the first image first, each in the order of its bootstrap.
    private(set) var blobs: [Blob] = []
    private var places: [Digest: Place] = [:]

    /// The most blobs: the numbers of layers need room as well.
    static let maximumBlobCount = 1 << 15

    /// A dictionary without chunks.
    package static let empty = ChunkDictionary()

    private init() {}

    /// The chunks of converted images.
    ///
    /// Of equal chunks that of the earlier image and the lower blob is taken. Members of batches,
    /// and chunks whose digest nobody says, are left out: they cannot be named one by one.
    ///
    /// - Parameters:
    ///   - images: the images.
    ///   - chunkSize: the size of a full chunk of the new image, in bytes.
    /// - Throws: an error that names the image that cannot be read, or is cut or digested in
    ///   another way than the new image.
    package init(_ images: [any ImageSource], chunkSize: UInt32) throws {
        var known: Set<Digest> = []
        for source in images {
            do {
                let image = try ConvertedImage(source)
                let metadata = try Self.metadata(of: image, source)
                try Self.check(metadata.layout, chunkSize: chunkSize)
                for (entry, records) in zip(metadata.layout.blobs, metadata.blobs) {
                    guard let id = entry.digest, known.insert(id).inserted else { continue }
                    let descriptor = try image.dataBlob(id, size: entry.compressedSize)
                    try add(
                        Blob(descriptor: descriptor, entry: entry, records: records, source: source)
                    )
                }
            } catch let error as ContentError where !error.message.hasPrefix(source.name) {
                throw error.at(source.name)
            }
        }
    }

    /// The address of a chunk: its blob's number counts the dictionary's blobs from 1, since 0 is a
    /// layer's own.
    ///
    /// - Parameters:
    ///   - digest: the digest of the content.
    ///   - size: the size of the content, in bytes.
    /// - Returns: the address; nil if no image has the chunk.
    func address(of digest: Digest, size: Int) -> ChunkAddress? {
        guard let place = places[digest], Int(place.size) == size else { return nil }
        return ChunkAddress(blob: place.blob + 1, index: place.index)
    }

    /// The record of a chunk.
    ///
    /// - Parameters:
    ///   - index: the chunk's index in its blob.
    ///   - number: the blob, counted from 1.
    /// - Returns: the record; nil if the blob has no such chunk.
    func chunk(at index: UInt32, of number: UInt16) -> Chunk? {
        blobs[Int(number) - 1].chunk(at: index)
    }

    /// Puts a blob where the new image goes, verified, unless it is there.
    ///
    /// - Parameters:
    ///   - blob: the blob's position in `blobs`.
    ///   - destination: takes it.
    /// - Throws: an error if the blob cannot be read, is not what its digest says, or cannot be
    ///   stored.
    func copyBlob(_ blob: Int, to destination: any ImageDestination) throws {
        let blob = blobs[blob]
        guard try !destination.hasBlob(blob.descriptor) else { return }
        try destination.copyBlob(blob.descriptor, from: blob.source)
    }

    private static func metadata(
        of image: ConvertedImage,
        _ source: any ImageSource
    ) throws -> ImageMetadata {
        let files = try image.bootstrapFiles()
        return try ImageMetadata(
            bootstrap: files[.bootstrap] ?? [],
            chunkInfo: { files[.chunkInfo($0)] },
            chunkDigests: { files[.chunkDigests($0)] },
            blobSource: { try source.blobSource(image.dataBlob($0, size: 0)) },
            metadataBlob: image.metadataBlob
        )
    }

    private static func check(
        _ layout: BootstrapLayout,
        chunkSize: UInt32
    ) throws(ContentError) {
        guard layout.blobs.allSatisfy({ $0.metadata == nil }) else {
            throw .unsupported("its data is in the layers of another image")
        }
        guard layout.chunkSize == chunkSize else {
            throw .unsupported(
                "its chunks have \(layout.chunkSize) bytes, expected \(chunkSize):"
                    + " a dictionary must be cut as the new image is"
            )
        }
        for blob in layout.blobs where blob.digester != .sha256 {
            throw .unsupported(
                "blob \(blob.id): its chunks are digested by \(blob.digester), expected"
                    + " \(Digester.sha256): a dictionary must name chunks as the new image does"
            )
        }
    }

    private mutating func add(_ blob: Blob) throws(ContentError) {
        guard blobs.count < Self.maximumBlobCount else {
            throw ContentError(
                .limitExceeded,
                "more than \(Self.maximumBlobCount) blobs in all dictionaries"
            )
        }
        let number = UInt16(blobs.count)
        for index in 0..<blob.records.table.count {
            let chunk = try blob.records.chunk(at: index)
            guard chunk.batch == nil, chunk.digest != .zero, places[chunk.digest] == nil else {
                continue
            }
            guard chunk.isWithin(blob.entry) else {
                throw .corrupt("blob \(blob.entry.id): chunk \(index) lies outside of it")
            }
            places[chunk.digest] = Place(
                blob: number,
                index: UInt32(index),
                size: chunk.uncompressedSize
            )
        }
        blobs.append(blob)
    }
}

extension Chunk {
    /// Whether the chunk is one that the blob can have.
    fileprivate func isWithin(_ blob: BlobTableEntry) -> Bool {
        // Offsets are below 2^44 by the width of their fields.
        isPlausible(maximumSize: blob.chunkSize)
            && uncompressedOffset.bytes + UInt64(uncompressedSize) <= blob.uncompressedSize
            && compressedOffset.bytes + UInt64(compressedSize) <= blob.compressedSize
    }
}
