// SPDX-License-Identifier: Apache-2.0

package import Content
package import OCI
import Tar

/// One file of the layer that carries a converted image's bootstrap.
package enum BootstrapFile: Hashable, Sendable {
    /// `image/image.boot`: the bootstrap.
    case bootstrap
    /// `image/<hex>.blob.meta`: the chunk-info table of the blob.
    case chunkInfo(Digest)
    /// `image/<hex>.blob.digest`: the digests of the blob's chunks.
    case chunkDigests(Digest)

    /// The file at a path of the layer; nil for one without meaning here.
    ///
    /// The newest nydus tools keep the files below `image/`, the oldest put the bootstrap into
    /// the root.
    init?(path: [UInt8]) {
        var names = path.split(separator: 0x2f).map { String(decoding: $0, as: UTF8.self) }
        names.removeAll { $0 == "." }
        guard let name = names.popLast(), names.isEmpty || names == ["image"] else { return nil }
        if name == "image.boot" {
            self = .bootstrap
            return
        }
        let parts = name.split(separator: ".", maxSplits: 1)
        guard parts.count == 2, let blob = Digest(hex: String(parts[0])) else { return nil }
        switch parts[1] {
        case "blob.meta": self = .chunkInfo(blob)
        case "blob.digest": self = .chunkDigests(blob)
        default: return nil
        }
    }
}

/// A converted image at its source.
package struct ConvertedImage: Sendable {
    /// The image's documents.
    package let image: ResolvedImage
    /// The layer that carries the bootstrap.
    package let bootstrapLayer: Descriptor
    private let source: any ImageSource

    /// The most that the files of a bootstrap layer may have in all, in bytes.
    private static let sizeLimit: UInt64 = 16 << 30

    /// The image at the source.
    ///
    /// - Parameter source: where it is.
    /// - Throws: `ContentError` (`unsupported`) if it is not converted; else as `resolve` throws.
    package init(_ source: any ImageSource) throws {
        image = try source.resolve()
        guard let layer = image.manifest.bootstrapLayer else {
            throw ContentError.unsupported(
                "\(source.name): not a converted image (its last layer carries no bootstrap);"
                    + " run `lazypull convert` on it first"
            )
        }
        bootstrapLayer = layer
        self.source = source
    }

    /// Reads the bootstrap layer to its end, verified, and hands its files out.
    ///
    /// What the body keeps may be used only after this returns: the digests are compared last.
    ///
    /// - Parameter body: gets each file that has a meaning, its size in bytes, and a function that
    ///   fills a buffer with its next bytes and gives 0 after the last.
    /// - Throws: an error that names the layer; what the body throws.
    package func readBootstrapLayer(
        _ body: (
            BootstrapFile, UInt64, (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
        ) throws -> Void
    ) throws {
        let object = "layer \(bootstrapLayer.digest)"
        do {
            try unsafe readFiles(body)
        } catch let error as ContentError {
            let isNamed = error.message.hasPrefix(object)
            throw (isNamed ? error : error.at(object)).at(source.name)
        }
    }

    /// The files of the bootstrap layer, in memory, verified.
    ///
    /// - Parameter isWanted: which files are kept.
    /// - Returns: the bytes of these that the layer has.
    /// - Throws: an error that names the layer.
    package func bootstrapFiles(
        where isWanted: (BootstrapFile) -> Bool = { _ in true }
    ) throws -> [BootstrapFile: [UInt8]] {
        var files: [BootstrapFile: [UInt8]] = [:]
        try unsafe readBootstrapLayer { file, size, read in
            if isWanted(file) { files[file] = try unsafe Self.contents(size, read) }
        }
        return files
    }

    private static func contents(
        _ size: UInt64,
        _ read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [UInt8] {
        var bytes: [UInt8] = []
        // Grows as the bytes come: the size is only what a header says.
        var buffer = [UInt8](repeating: 0, count: Int(min(size, 1 << 20)))
        while UInt64(bytes.count) < size {
            var span = buffer.mutableSpan
            let count = try unsafe span.withUnsafeMutableBytes {
                (buffer) throws(ContentError) in try unsafe read(buffer)
            }
            guard count > 0 else { throw .truncated("a file of the bootstrap layer ends early") }
            bytes.append(contentsOf: buffer[..<count])
        }
        return bytes
    }

    private func readFiles(
        _ body: (
            BootstrapFile, UInt64, (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
        ) throws -> Void
    ) throws {
        guard let diffID = image.config.diffIDs.last else {
            throw ContentError.corrupt("the image's configuration has no diff_ids")
        }
        let stream = try LayerStream(
            source.openBlob(bootstrapLayer),
            layer: bootstrapLayer,
            diffID: diffID
        )
        var reader = TarReader(stream)
        var seen: Set<BootstrapFile> = []
        var size: UInt64 = 0
        while let entry = try reader.next() {
            guard entry.kind == .regular, let file = BootstrapFile(path: entry.path) else {
                continue
            }
            size = size.addingReportingOverflow(entry.size).partialValue
            guard entry.size <= Self.sizeLimit, size <= Self.sizeLimit else {
                throw ContentError(.limitExceeded, "more than 16 GiB of metadata")
            }
            guard seen.insert(file).inserted else {
                throw ContentError.corrupt("\(escapedText(of: entry.path)) is there twice")
            }
            try unsafe body(file, entry.size) { (buffer) throws(ContentError) in
                try unsafe reader.readContent(into: buffer)
            }
        }
        try reader.finish()
        guard seen.contains(.bootstrap) else {
            throw ContentError.corrupt("no image/image.boot in it")
        }
    }

    /// The descriptor of a blob that the bootstrap names: one that the manifest lists, or a layer of
    /// an ordinary image that one of these describes.
    ///
    /// - Parameters:
    ///   - id: the blob's digest, from the bootstrap.
    ///   - size: its size, from the bootstrap; used for layers of ordinary images only.
    /// - Returns: the blob's descriptor.
    /// - Throws: `ContentError` if the manifest neither lists nor refers to the blob.
    package func dataBlob(_ id: Digest, size: UInt64) throws(ContentError) -> Descriptor {
        if let blob = listed(id) { return blob }
        guard image.manifest.layers.contains(where: { $0.originalLayer == id }) else {
            throw unlisted(id)
        }
        return Descriptor(mediaType: .layerGzip, digest: id, size: size)
    }

    /// The same blob, by ranges.
    ///
    /// - Parameters:
    ///   - id: the blob's digest, from the bootstrap.
    ///   - size: its size, from the bootstrap.
    ///   - isWhole: whether it is a layer of which no part can be decoded alone; ranges are then those
    ///     of its tar.
    /// - Returns: the blob.
    /// - Throws: `ContentError` if the manifest neither lists nor refers to the blob; an error if it
    ///   cannot be had.
    package func dataSource(
        _ id: Digest,
        size: UInt64,
        isWhole: Bool
    ) throws -> any BlobSource {
        let blob = try dataBlob(id, size: size)
        return isWhole ? WholeLayer(blob, of: source) : try source.blobSource(blob)
    }

    /// The bytes of a blob that holds another one's metadata, verified.
    ///
    /// - Parameter id: the blob's digest, from the bootstrap.
    /// - Returns: its bytes.
    /// - Throws: `ContentError` if the manifest does not list it; an error that names it if it
    ///   cannot be had or is wrong.
    package func metadataBlob(_ id: Digest) throws -> [UInt8] {
        guard let blob = listed(id) else { throw unlisted(id) }
        let object = "blob \(blob.digest)"
        guard blob.size <= Self.metadataLimit else {
            throw ContentError(.limitExceeded, "\(object): \(blob.size) bytes of metadata")
        }
        var stream = VerifyingStream(
            try source.openBlob(blob),
            digest: blob.digest,
            size: blob.size,
            object: object
        )
        return try stream.readAll(limit: Int(blob.size))
    }

    /// The most that one blob of metadata may have, in bytes.
    private static let metadataLimit: UInt64 = 1 << 30

    private func listed(_ id: Digest) -> Descriptor? {
        image.manifest.layers.first { $0.digest == id }
    }

    private func unlisted(_ id: Digest) -> ContentError {
        .corrupt("\(source.name): the bootstrap names blob \(id), which the manifest does not list")
    }
}
