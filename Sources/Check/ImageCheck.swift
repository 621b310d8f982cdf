// SPDX-License-Identifier: Apache-2.0
//
// Check: verifies a converted image, and compares it with the image it was made from.

import Content
package import Distribution
package import Layers
import Linux
import OCI
import RAFS

/// What a check found.
package struct CheckReport: Sendable {
    /// Names in the tree.
    package var nameCount: Int
    /// Chunks of all blobs that the bootstrap names.
    package var chunkCount: Int
    /// Bytes of content of all files.
    package var contentSize: UInt64
    /// What differs from the source, one line each; empty if it was not compared.
    package var differences: [String]
}

/// Checks a converted image.
package struct ImageCheck {
    private let source: any ImageSource
    private let threads: Int
    private let limits: LayerLimits
    private let treeLimits: BootstrapLimits
    private let progress: @Sendable (LayerProgress) -> Void

    /// A check.
    ///
    /// - Parameters:
    ///   - source: the converted image.
    ///   - threads: how many blobs or layers to read at once.
    ///   - limits: what the image and the one it was made from may cost.
    ///   - progress: told how far the work is; called from several threads.
    package init(
        _ source: any ImageSource,
        threads: Int,
        limits: LayerLimits = .standard,
        progress: @escaping @Sendable (LayerProgress) -> Void = { _ in }
    ) {
        self.limits = limits
        treeLimits = BootstrapLimits(names: UInt64(limits.entries), depth: limits.depth)
        self.source = source
        self.threads = threads
        self.progress = progress
    }

    /// Checks structure and every digest: documents, bootstrap, chunk records, blobs, chunks, and
    /// the bootstraps inlined in the blobs.
    ///
    /// - Parameter original: the image it was made from, to be compared with; nil to leave that.
    /// - Returns: what was found.
    /// - Throws: an error that names the first thing that is wrong with the image itself.
    package func run(against original: (any ImageSource)?) throws -> CheckReport {
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
        let (tree, contentSize) = try view.verifiedTree(limits: treeLimits) {
            (address) throws(ContentError) in
            try metadata.chunk(at: address)
        }
        try checkDocuments(image, metadata)
        try checkBlobs(image, metadata)
        var report = CheckReport(
            nameCount: Int(clamping: metadata.layout.inodeCount),
            chunkCount: metadata.blobs.reduce(0) { $0 + $1.table.count },
            contentSize: contentSize,
            differences: []
        )
        if let original {
            report.differences = try differences(of: tree, metadata, from: original)
        }
        return report
    }

    /// The bootstrap's canonical text, line by line; its layer is verified, the blobs are not.
    ///
    /// - Parameter line: gets each line, without its end.
    /// - Throws: an error that names what is wrong with the bootstrap; what `line` throws.
    package func dump(line: (String) throws -> Void) throws {
        let files = try ConvertedImage(source).bootstrapFiles { $0 == .bootstrap }
        let metadata = files[.bootstrap] ?? []
        let layout = try BootstrapLayout(metadata.rawSpan)
        let dump = try ImageDump(
            Bootstrap(bytes: metadata.rawSpan, layout: layout),
            limits: treeLimits
        )
        try dump.write(line: line)
    }

    /// The configuration's diff_ids: of a data blob its own digest, so that it can be provided
    /// under that chain of layers.
    private func checkDocuments(_ image: ConvertedImage, _ metadata: ImageMetadata) throws {
        for blob in metadata.layout.blobs {
            guard let id = blob.digest else { continue }
            _ = try image.dataBlob(id, size: blob.compressedSize)
        }
        for (layer, diffID) in zip(image.image.manifest.layers, image.image.config.diffIDs)
        where layer != image.bootstrapLayer && layer.digest != diffID {
            throw ContentError.corrupt(
                "\(source.name): data blob \(layer.digest) has diffID \(diffID), expected its digest"
            )
        }
    }

    private func checkBlobs(_ image: ConvertedImage, _ metadata: ImageMetadata) throws {
        var chunks: [Digest: ImageMetadata.BlobChunks] = [:]
        var layers: [(layer: Descriptor, chunks: ImageMetadata.BlobChunks)] = []
        for (blob, records) in zip(metadata.layout.blobs, metadata.blobs) {
            guard let id = blob.digest else { continue }
            chunks[blob.metadata?.digest ?? id] = records
            if blob.metadata != nil {
                layers.append((try image.dataBlob(id, size: blob.compressedSize), records))
            }
        }
        let known = chunks
        let originals = layers
        let withoutTOC = Set(
            metadata.layout.blobs.filter { !$0.features.contains(.hasTOC) }.map(\.id)
        )
        let blobs = image.image.manifest.dataBlobs
        let meter = LayerProgressMeter(blobs + originals.map(\.layer), show: progress)
        let count = blobs.count + originals.count
        _ = try inParallel(count, threads: threads, name: "blob") { index in
            if index < blobs.count {
                let blob = blobs[index]
                try BlobCheck(
                    blob,
                    of: source,
                    chunks: known[blob.digest],
                    hasTOC: known[blob.digest] == nil
                        ? withoutTOC.isEmpty : !withoutTOC.contains(blob.digest.hex),
                    limits: treeLimits,
                    meter: meter
                ).run()
            } else {
                let (layer, chunks) = originals[index - blobs.count]
                try LayerCheck(layer, of: source, chunks: chunks, meter: meter).run()
            }
            meter.reportLayer()
        }
    }

    private func differences(
        of tree: FileTree,
        _ metadata: ImageMetadata,
        from original: any ImageSource
    ) throws -> [String] {
        let sourceTree = try SourceTree(
            original,
            chunkSize: metadata.layout.chunkSize,
            digesters: Set(metadata.layout.blobs.map(\.digester)),
            limits: limits,
            threads: threads,
            progress: progress
        )
        var comparison = TreeComparison(image: tree, source: sourceTree.tree) { ours, theirs in
            guard let digester = metadata.digester(ofBlob: ours.blob) else { return (nil, nil) }
            return (
                try? metadata.chunk(at: ours)?.digest,
                sourceTree.digest(of: theirs, by: digester)
            )
        }
        comparison.run()
        return comparison.differences
    }
}
