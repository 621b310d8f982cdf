// SPDX-License-Identifier: Apache-2.0

package import Content
import Tar

/// What layers may cost: an image is hostile input.
package struct LayerLimits: Sendable {
    /// The most entries of a layer, and of all layers of an image together: below 2^32.
    package var entries: Int
    /// The deepest path, in names, symbolic links on the way followed.
    package var depth: Int
    /// The most bytes of paths, link targets and extended attributes of a layer.
    package var metadataBytes: Int
    /// The most bytes of a layer's uncompressed tar, and of the contents of its files, in which
    /// holes count as the zeros they read as.
    package var decodedBytes: UInt64
    /// The most pieces that the contents of a layer's files are cut into: below 2^32.
    package var chunks: Int

    /// Limits that no real layer comes near.
    package static let standard = LayerLimits(
        entries: 50_000_000,
        depth: 4096,
        metadataBytes: 8 << 30
    )

    /// The limits given; the others are the standard's: 1 TiB, and 2^26 chunks.
    package init(
        entries: Int,
        depth: Int,
        metadataBytes: Int,
        decodedBytes: UInt64 = 1 << 40,
        chunks: Int = 1 << 26
    ) {
        self.entries = min(entries, Int(UInt32.max))
        self.depth = depth
        self.metadataBytes = metadataBytes
        self.decodedBytes = decodedBytes
        self.chunks = min(chunks, Int(UInt32.max))
    }

    /// The refusal of a layer that is larger than `decodedBytes`.
    func decodedError() -> ContentError {
        .limitExceeded(
            "more than \(decodedBytes) bytes when decompressed",
            raisedBy: "max-layer-size"
        )
    }

    /// The refusal of a layer whose contents are cut into more than `chunks` pieces.
    package static func chunksError(limit: Int) -> ContentError {
        .limitExceeded("more than \(limit) chunks in a layer", raisedBy: "max-chunks")
    }

    /// Refuses a directory deeper than the limit; the root has depth 0.
    func check(depth: Int, shown: @autoclosure () -> String) throws(ContentError) {
        guard depth <= self.depth else {
            throw .limitExceeded(
                "\(shown()): deeper than \(self.depth) directories",
                raisedBy: "max-depth"
            )
        }
    }
}

/// Takes the content of a layer's regular files, one file after another.
package protocol LayerContentSink {
    /// Learns where the content of the next file stands, before it is taken.
    ///
    /// - Parameter place: where it begins in the layer's uncompressed tar, all of it at a stretch;
    ///   nil for a file with holes.
    mutating func prepare(forContentAt place: UncompressedOffset?)

    /// Takes a file's content and cuts it into chunks.
    ///
    /// - Parameters:
    ///   - size: the size of the content, in bytes; at least 1.
    ///   - read: fills a buffer from its start with the next bytes and tells how many; 0 after
    ///     the last.
    /// - Returns: the addresses of the content's chunks; they may be provisional.
    /// - Throws: `ContentError` if reading fails or the content cannot be kept.
    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress]
}

extension LayerContentSink {
    package mutating func prepare(forContentAt place: UncompressedOffset?) {}
}

/// A layer as a tree.
package struct LayerTree: Sendable {
    /// The tree; whiteouts are in it as empty files.
    package var tree: FileTree
    /// What could not be kept, one line each.
    package var warnings: [String]
}

/// Reads a layer's tar stream into a tree, and hands the contents on.
package struct LayerReader {
    private let limits: LayerLimits
    private let keepsXattr: (ExtendedAttribute) -> Bool

    /// A reader.
    ///
    /// - Parameters:
    ///   - limits: what a layer may cost.
    ///   - keepsXattr: whether an extended attribute can be kept; the others are warned about.
    package init(
        limits: LayerLimits = .standard,
        keepsXattr: @escaping (ExtendedAttribute) -> Bool
    ) {
        self.limits = limits
        self.keepsXattr = keepsXattr
    }

    /// Reads a layer to the end of its stream.
    ///
    /// - Parameters:
    ///   - source: the layer's uncompressed tar.
    ///   - sink: takes the contents.
    /// - Returns: the tree.
    /// - Throws: `ContentError` naming the entry, or from the stream or the sink.
    package func read<Source: ByteStream & ~Copyable>(
        _ source: consuming Source,
        into sink: inout some LayerContentSink
    ) throws(ContentError) -> LayerTree {
        var reader = TarReader(LimitedStream(source, limits))
        var builder = LayerTreeBuilder(limits: limits)
        var warnings: [String] = []
        while var entry = try reader.next() {
            try builder.count(entry)
            var chunks: [ChunkAddress] = []
            if entry.kind == .regular, entry.size > 0 {
                sink.prepare(forContentAt: entry.hasHoles ? nil : reader.offset)
                chunks = try unsafe sink.takeFile(size: entry.size) {
                    (buffer) throws(ContentError) in
                    try unsafe reader.readContent(into: buffer)
                }
            }
            for xattr in entry.xattrs where !keepsXattr(xattr) {
                warnings.append(
                    "\(escapedText(of: entry.path)): xattr \(escapedText(of: xattr.name))"
                        + " cannot be stored and is left out"
                )
            }
            entry.xattrs.removeAll { !keepsXattr($0) }
            try builder.add(entry, chunks: chunks)
        }
        try reader.finish()
        return LayerTree(tree: builder.tree, warnings: warnings)
    }
}

/// Passes bytes on up to the limit of a layer's tar.
private struct LimitedStream<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var source: Source
    private let limits: LayerLimits
    private var count: UInt64 = 0

    init(_ source: consuming Source, _ limits: LayerLimits) {
        self.source = source
        self.limits = limits
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        let read = try unsafe source.read(into: buffer)
        count &+= UInt64(read)
        guard count <= limits.decodedBytes else { throw limits.decodedError() }
        return read
    }
}
