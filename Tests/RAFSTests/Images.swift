// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport

/// What tests of bootstraps make them of.
enum Images {
    /// The entry of a blob with chunks of 4096 bytes, each stored as it is.
    static func blob(_ chunkCount: Int, id: Character = "a") -> BlobTableEntry {
        BlobTableEntry(
            id: String(repeating: id, count: 64),
            chunkCount: UInt32(chunkCount),
            chunkSize: 4096,
            compressor: .zstd,
            digester: .sha256,
            features: .written,
            compressedSize: 1 << 30,
            uncompressedSize: UInt64(chunkCount) * 4096,
            chunkInfo: ChunkInfoLocation(
                compressor: .none,
                offset: UInt64(chunkCount) * 4096,
                compressedSize: UInt64(chunkCount) * 16,
                uncompressedSize: UInt64(chunkCount) * 16
            )
        )
    }

    /// The record of a chunk of such a blob.
    static func chunk(_ address: ChunkAddress) -> Chunk {
        var digest = [UInt8](repeating: UInt8(truncatingIfNeeded: address.blob), count: 32)
        digest.storeLittleEndian(address.index, at: 8)
        return Chunk(
            digest: Digest(bytes: digest) ?? .zero,
            compressedOffset: CompressedOffset(UInt64(address.index) * 4096),
            compressedSize: 4096,
            uncompressedOffset: UncompressedOffset(UInt64(address.index) * 4096),
            uncompressedSize: 4096
        )
    }

    /// The bootstrap of a tree over such blobs.
    static func bootstrap(
        _ tree: FileTree,
        blobs: [BlobTableEntry] = [blob(1000)],
        prefetch: [FileTree.NodeID] = []
    ) throws(ContentError) -> [UInt8] {
        var writer = BootstrapWriter(
            tree: tree,
            blobs: blobs,
            chunkSize: 4096,
            flags: BootstrapWriter.flags(.zstd, blobs: [])
        )
        writer.prefetch = prefetch
        return try writer.write { chunk($0) }
    }

    /// The tree that a bootstrap holds.
    static func tree(of bootstrap: [UInt8]) throws(ContentError) -> FileTree {
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        return try Bootstrap(bytes: bootstrap.rawSpan, layout: layout).tree()
    }

    /// Adds a file to a tree.
    @discardableResult
    static func add(
        _ name: FileName,
        _ node: FileTree.Node,
        to parent: FileTree.NodeID = FileTree.root,
        of tree: inout FileTree
    ) -> FileTree.NodeID {
        let id = tree.add(node)
        tree[parent].children[name] = id
        return id
    }

    /// A node with ordinary attributes.
    static func node(_ type: FileType) -> FileTree.Node {
        var node = FileTree.Node(type: type, attributes: FileAttributes(permissions: 0o755))
        if type == .symlink { node.target = [0x61] }
        return node
    }

    /// A regular file of chunks of one blob.
    static func file(_ chunks: Range<Int>) -> FileTree.Node {
        var node = node(.regular)
        node.chunks = chunks.map { ChunkAddress(blob: 0, index: UInt32($0)) }
        node.size = UInt64(chunks.count) * 4096
        return node
    }

    /// A tree of every type of file, with names, links, xattrs and targets of many sizes.
    static func random(_ generator: inout SeededGenerator, count: Int) -> FileTree {
        var tree = FileTree()
        var directories = [FileTree.root]
        var files: [FileTree.NodeID] = []
        for number in 0..<count {
            let length = Int.random(in: 1...(number % 9 == 0 ? 200 : 12), using: &generator)
            var name = FileName(
                (0..<length).map { _ in UInt8.random(in: 0x30...0xff, using: &generator) }
            )
            name.bytes += Array("-\(number)".utf8)
            let parent = directories[Int.random(in: 0..<directories.count, using: &generator)]
            if let known = files.randomElement(using: &generator), number % 10 == 0 {
                tree[parent].children[name] = known
                continue
            }
            let id = add(name, randomNode(&generator), to: parent, of: &tree)
            if tree[id].type == .directory { directories.append(id) } else { files.append(id) }
        }
        return tree
    }

    private static func randomNode(_ generator: inout SeededGenerator) -> FileTree.Node {
        let type = FileType.allCases.randomElement(using: &generator) ?? .regular
        var node = node(type)
        if type == .regular {
            let first = Int.random(in: 0..<100, using: &generator)
            node = file(first..<first + Int.random(in: 0...20, using: &generator))
            if node.size > 0 { node.size -= UInt64.random(in: 0..<4096, using: &generator) }
        }
        if type == .symlink {
            let count = Int.random(in: 1...4095, using: &generator)
            node.target = [UInt8](repeating: 0x74, count: count)
        }
        if type.isDevice {
            node.device = DeviceNumber(
                encoded: UInt32.random(in: 0...UInt32.max, using: &generator)
            )
        }
        node.attributes = FileAttributes(
            permissions: UInt16.random(in: 0...0o7777, using: &generator),
            userID: UInt32.random(in: 0...UInt32.max, using: &generator),
            groupID: UInt32.random(in: 0...UInt32.max, using: &generator),
            modificationSeconds: Int64.random(in: Int64.min...Int64.max, using: &generator),
            modificationNanoseconds: UInt32.random(in: 0..<1_000_000_000, using: &generator)
        )
        for number in 0..<[0, 0, 0, 1, 3][Int.random(in: 0..<5, using: &generator)] {
            node.xattrs.append(
                ExtendedAttribute(
                    name: Array("user.k\(number)".utf8),
                    value: generator.bytes(Int.random(in: 0...900, using: &generator))
                )
            )
        }
        return node
    }
}

extension FileTree {
    /// One line for each name with everything the format keeps of it, for comparing trees.
    func lines() -> [String] {
        let links = linkCounts()
        var first: [NodeID: String] = [:]
        var paths: [NodeID: String] = [FileTree.root: ""]
        var result: [String] = []
        walkBreadthFirst { visit in
            let path = "\(paths[visit.parent] ?? "?")/\(visit.name)"
            paths[visit.node] = paths[visit.node] ?? (visit.node == FileTree.root ? "" : path)
            let node = self[visit.node]
            let same = first[visit.node] ?? "itself"
            first[visit.node] = first[visit.node] ?? path
            result.append(
                "\(path) = \(same): \(node.type) \(node.attributes) \(node.xattrs) \(node.size)"
                    + " \(node.chunks) \(node.target) \(node.device) \(links[Int(visit.node.index)])"
            )
        }
        return result
    }
}
