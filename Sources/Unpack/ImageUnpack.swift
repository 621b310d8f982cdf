// SPDX-License-Identifier: Apache-2.0
//
// Unpack: a converted image laid out as files.

import ChunkCache
import Content
package import Distribution
package import Linux
package import RAFS
import Synchronization

/// What was laid out.
package struct UnpackReport: Sendable {
    /// Names in the tree, the root's included.
    package var nameCount: Int
    /// Bytes of content of all files.
    package var contentSize: UInt64
}

/// Tells work in other threads to end.
package final class StopSign: Sendable {
    private let isRaised = Atomic<Bool>(false)

    /// A sign that nobody has raised.
    package init() {}

    /// Lets the work end at the next chunk or name.
    package func raise() { isRaised.store(true, ordering: .relaxed) }

    /// Throws if the sign is raised.
    ///
    /// - Throws: `ContentError`.
    func check() throws(ContentError) {
        guard !isRaised.load(ordering: .relaxed) else {
            throw ContentError(.inputOutput, "interrupted")
        }
    }
}

/// Lays a converted image out as files.
package struct ImageUnpack: Sendable {
    private let metadata: ImageMetadata
    private let tree: FileTree
    private let blobs: [any BlobSource]
    private let contentSize: UInt64
    private let threads: Int

    /// Reads and checks the image's metadata; nothing is written.
    ///
    /// - Parameters:
    ///   - source: the converted image.
    ///   - threads: how many threads decompress and write.
    ///   - limits: what its tree may cost.
    /// - Throws: an error that names what is wrong with the image.
    package init(
        _ source: any ImageSource,
        threads: Int,
        limits: BootstrapLimits = .standard
    ) throws {
        let image = try ConvertedImage(source)
        let files = try image.bootstrapFiles()
        let metadata = try ImageMetadata(
            bootstrap: files[.bootstrap] ?? [],
            chunkInfo: { files[.chunkInfo($0)] },
            chunkDigests: { files[.chunkDigests($0)] },
            blobSource: { try source.blobSource(image.dataBlob($0, size: 0)) },
            metadataBlob: image.metadataBlob
        )
        let view = Bootstrap(bytes: metadata.bootstrap.rawSpan, layout: metadata.layout)
        (tree, contentSize) = try view.verifiedTree(limits: limits) {
            (address) throws(ContentError) in
            try metadata.chunk(at: address)
        }
        blobs = try metadata.layout.blobs.map { blob in
            guard let id = blob.digest else {
                throw ContentError.corrupt("bootstrap: blob id \(blob.id) is no digest")
            }
            return try image.dataSource(
                id,
                size: blob.compressedSize,
                isWhole: blob.features.contains(.whole)
            )
        }
        self.metadata = metadata
        self.threads = threads
    }

    /// Lays the tree out.
    ///
    /// - Parameters:
    ///   - directory: empty; becomes the image's root. What is in it after an error is incomplete.
    ///   - stop: ends the work when it is raised.
    /// - Returns: what was laid out.
    /// - Throws: an error that names the file or the chunk.
    package func run(
        into directory: borrowing OpenDirectory,
        stop: StopSign
    ) throws -> UnpackReport {
        let writers = ContentWriters(metadata: metadata, blobs: blobs, stop: stop)
        try writers.start(threads: threads)
        var names = TreeWriter(tree, writers, stop)
        do {
            try names.write(into: directory)
        } catch {
            // A writer's failure is the cause, if both have one.
            try writers.finish()
            throw error
        }
        try writers.finish()
        return UnpackReport(
            nameCount: Int(clamping: metadata.layout.inodeCount),
            contentSize: contentSize
        )
    }
}
