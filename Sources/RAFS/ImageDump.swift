// SPDX-License-Identifier: Apache-2.0

package import Content

/// A bootstrap as text, one line for each blob, chunk and name: the canonical form.
///
/// Two bootstraps with the same text hold the same image. Text read back by `ImageText` and
/// written gives a bootstrap with the same text again.
///
///     rafs-v6 chunk-size=1048576 flags=0x10001b8
///     blob 0 id=… chunks=2 compressed=… uncompressed=… compressor=zstd digester=sha256 …
///     chunk 0:0 digest=… stored=0+17 content=0+28 file-offset=0
///     prefetch /usr/bin/python3
///     / directory 0755 0:0 0.000000000
///     /a\x20file regular 0644 0:0 1700000000.500000000 size=28 chunks=0:0 xattr=user.k,v
///     /link hardlink to=/a\x20file
package struct ImageDump {
    private let layout: BootstrapLayout
    private let tree: FileTree
    private let prefetch: [FileTree.NodeID]
    private let records: [ChunkRecord]

    /// The dump of a bootstrap.
    ///
    /// - Parameters:
    ///   - bootstrap: the bootstrap.
    ///   - limits: what its tree may cost.
    /// - Throws: `ContentError` if it is malformed, or larger.
    package init(
        _ bootstrap: borrowing Bootstrap,
        limits: BootstrapLimits = .standard
    ) throws(ContentError) {
        layout = bootstrap.layout
        let (tree, nodes) = try bootstrap.treeWithNumbers(limits: limits)
        self.tree = tree
        var prefetch: [FileTree.NodeID] = []
        for nid in try bootstrap.prefetchList() {
            guard let node = nodes[nid] else {
                throw .corrupt("prefetch table: inode \(nid) is not in the tree")
            }
            prefetch.append(node)
        }
        self.prefetch = prefetch
        var records: [ChunkRecord] = []
        try bootstrap.forEachChunkRecord { (record) throws(ContentError) in
            records.append(record)
        }
        self.records = records.sorted {
            ($0.address.blob, $0.address.index) < ($1.address.blob, $1.address.index)
        }
    }

    /// Writes the text.
    ///
    /// - Parameter line: gets each line, without its end.
    /// - Throws: what `line` throws.
    package func write<Failure: Error>(
        line: (String) throws(Failure) -> Void
    ) throws(Failure) {
        try line(
            "rafs-v6 chunk-size=\(layout.chunkSize) flags=0x\(String(layout.flags.rawValue, radix: 16))"
        )
        for (index, blob) in layout.blobs.enumerated() { try line(Self.text(of: blob, index)) }
        for record in records { try line(Self.text(of: record)) }
        let first = firstPaths()
        for node in prefetch { try line("prefetch \(first[node] ?? "")") }
        try walk { (path, id) throws(Failure) in
            let path = Self.text(of: path)
            if let known = first[id], known != path {
                try line("\(path) hardlink to=\(known)")
            } else {
                try line("\(path) \(Self.text(of: tree[id]))")
            }
        }
    }

    private static func text(of blob: BlobTableEntry, _ index: Int) -> String {
        let info = blob.chunkInfo
        return "blob \(index) id=\(blob.id) chunks=\(blob.chunkCount)"
            + " compressed=\(blob.compressedSize) uncompressed=\(blob.uncompressedSize)"
            + " compressor=\(blob.compressor) digester=\(blob.digester)"
            + " features=0x\(String(blob.features.rawValue, radix: 16))"
            + " info=\(info.compressor):\(info.offset)+\(info.compressedSize)"
            + ":\(info.uncompressedSize)"
    }

    private static func text(of record: ChunkRecord) -> String {
        let chunk = record.chunk
        return "chunk \(record.address.blob):\(record.address.index) digest=\(chunk.digest.hex)"
            + " stored=\(chunk.compressedOffset)+\(chunk.compressedSize)"
            + " content=\(chunk.uncompressedOffset)+\(chunk.uncompressedSize)"
            + " file-offset=\(record.fileOffset)"
    }

    /// The first path of what a later line names: of hard links and what is prefetched.
    private func firstPaths() -> [FileTree.NodeID: String] {
        let linkCounts = tree.linkCounts()
        let prefetched = Set(prefetch)
        var first: [FileTree.NodeID: String] = [:]
        walk { path, id in
            let isLinked = linkCounts[Int(id.index)] > 1 && tree[id].type != .directory
            if isLinked || prefetched.contains(id), first[id] == nil {
                first[id] = Self.text(of: path)
            }
        }
        return first
    }

    /// Calls the body for every name: depth first, names ascending in each directory.
    private func walk<Failure: Error>(
        _ body: ([FileName], FileTree.NodeID) throws(Failure) -> Void
    ) throws(Failure) {
        var pending = [(depth: 0, name: FileName([]), node: FileTree.root)]
        var path: [FileName] = []
        while let (depth, name, id) = pending.popLast() {
            if depth > 0 {
                path.removeSubrange((depth - 1)...)
                path.append(name)
            }
            try body(path, id)
            for child in tree.sortedChildren(of: id).reversed() {
                pending.append((depth + 1, child.name, child.node))
            }
        }
    }

    private static func text(of path: [FileName]) -> String {
        path.isEmpty ? "/" : path.map { "/\($0)" }.joined()
    }

    private static func text(of node: FileTree.Node) -> String {
        let attributes = node.attributes
        let permissions = String(attributes.permissions, radix: 8)
        let nanoseconds = String(attributes.modificationNanoseconds)
        var text =
            "\(node.type) \(String(repeating: "0", count: 4 - permissions.count))\(permissions)"
        text += " \(attributes.userID):\(attributes.groupID) \(attributes.modificationSeconds)"
        text += ".\(String(repeating: "0", count: 9 - nanoseconds.count))\(nanoseconds)"
        switch node.type {
        case .regular:
            text += " size=\(node.size)"
            let chunks = node.chunks.map { "\($0.blob):\($0.index)" }
            if !chunks.isEmpty { text += " chunks=\(chunks.joined(separator: ","))" }
        case .symlink: text += " target=\(escapedText(of: node.target))"
        case .characterDevice, .blockDevice:
            text += " device=\(node.device.major):\(node.device.minor)"
        case .directory: if node.isImplicit { text += " implicit" }
        case .fifo, .socket: break
        }
        for xattr in node.xattrs {
            text += " xattr=\(escapedText(of: xattr.name)),\(escapedText(of: xattr.value))"
        }
        return text
    }
}
