// SPDX-License-Identifier: Apache-2.0

package import Content

/// What a data blob carries of its own layer: all that merging needs, and none of the contents.
package struct LayerMetadata: Sendable {
    /// The layer's tree, whiteouts in it as the empty files they are; chunk addresses are of this
    /// blob, numbered 0.
    package let tree: FileTree
    /// The blob as the layer's bootstrap names it, its id unknown; nil if it has no chunk.
    package let entry: BlobTableEntry?
    /// The blob's chunks, by index.
    package let chunks: [Chunk]
    /// The chunk-info table in its file form; empty if there is no chunk.
    package let chunkInfoFile: [UInt8]
    /// The uncompressed size of a full chunk, in bytes.
    package let chunkSize: UInt32
    /// The flags of the layer's bootstrap.
    package let flags: BootstrapFlags

    /// Fetches and checks a layer's metadata; no chunk is fetched.
    ///
    /// - Parameters:
    ///   - source: the layer's data blob.
    ///   - limits: what the layer's tree may cost.
    /// - Throws: `ContentError` if the blob carries no bootstrap, as those of nydus before 2.2 do
    ///   not; if that names other blobs; if its parts are corrupt or contradict each other.
    package init(
        _ source: any BlobSource,
        limits: BootstrapLimits = .standard
    ) throws(ContentError) {
        let parts = BlobParts(source)
        let metadata = try ImageMetadata(inlined: Self.bootstrap(in: parts), in: parts)
        let view = Bootstrap(bytes: metadata.bootstrap.rawSpan, layout: metadata.layout)
        tree = try view.verifiedTree(limits: limits) { (address) throws(ContentError) in
            try metadata.chunk(at: address)
        }.tree
        self.entry = metadata.layout.blobs.first
        chunkInfoFile = metadata.blobs.first?.infoFile ?? []
        var chunks: [Chunk] = []
        for index in 0..<(metadata.blobs.first?.table.count ?? 0) {
            chunks.append(try metadata.blobs[0].chunk(at: index))
        }
        self.chunks = chunks
        chunkSize = metadata.layout.chunkSize
        flags = metadata.layout.flags
    }

    /// The ids by which the bootstrap that a blob carries names blobs: its own, of which the id is
    /// none yet, and those of a chunk dictionary.
    ///
    /// - Parameter source: the blob.
    /// - Returns: the ids; none if the layer has no content.
    /// - Throws: `ContentError` if the blob carries no bootstrap, or naming what is wrong with it.
    package static func blobIDs(in source: any BlobSource) throws(ContentError) -> [String] {
        let bootstrap = try bootstrap(in: BlobParts(source))
        return try BootstrapLayout(bootstrap.rawSpan).blobs.map(\.id)
    }

    private static func bootstrap(in parts: BlobParts) throws(ContentError) -> [UInt8] {
        guard let entry = try parts.tableOfContents()?.entry(named: BlobTOC.Name.bootstrap) else {
            throw .unsupported("the blob carries no bootstrap of its layer")
        }
        return try parts.part(entry)
    }
}
