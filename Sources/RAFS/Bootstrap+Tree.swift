// SPDX-License-Identifier: Apache-2.0

package import Content

/// How much of a bootstrap is read into memory before it is refused: an image is hostile input.
package struct BootstrapLimits: Sendable {
    /// The most names, the root's included.
    package var names: UInt64
    /// The deepest directory; the root has depth 0.
    package var depth: Int

    /// Limits that no real image comes near.
    package static let standard = BootstrapLimits(names: 50_000_000, depth: 4096)

    /// The limits given.
    package init(names: UInt64, depth: Int) {
        self.names = names
        self.depth = depth
    }
}

extension Bootstrap {
    /// The whole tree as values, checked on the way: names valid, sorted and each once, "." and
    /// ".." right, every directory with one parent, types as the dirents repeat them, link counts
    /// right, every chunk index in range.
    ///
    /// - Parameter limits: what the tree may cost.
    /// - Returns: the tree; hard links are nodes with several names.
    /// - Throws: `ContentError` naming the path and what is wrong with it.
    package func tree(limits: BootstrapLimits = .standard) throws(ContentError) -> FileTree {
        try treeWithNumbers(limits: limits).tree
    }

    /// The tree, and which node each nid became.
    func treeWithNumbers(
        limits: BootstrapLimits
    ) throws(ContentError) -> (tree: FileTree, nodes: [UInt64: FileTree.NodeID]) {
        var reader = TreeReader(limits: limits)
        try reader.read(self)
        return (reader.tree, reader.nodes)
    }

    /// The inode as a node without children.
    fileprivate func node(of inode: Inode) throws(ContentError) -> FileTree.Node {
        var node = FileTree.Node(type: inode.type, attributes: inode.attributes)
        node.xattrs = try xattrs(of: inode)
        switch inode.type {
        case .regular:
            node.size = inode.size
            let count = chunkCount(of: inode)
            // Checked before room is made for them: the indexes must lie in the bootstrap.
            guard count <= UInt64(layout.byteCount / 8) else {
                throw .corrupt(
                    "inode \(inode.nid): \(count) chunks are more than there is room for"
                )
            }
            node.chunks.reserveCapacity(Int(count))
            for index in 0..<count { node.chunks.append(try chunk(index, of: inode).address) }
        case .symlink:
            let target = try symlinkTarget(of: inode)
            node.target = try target.bytes(at: 0, count: target.byteCount)
        case .characterDevice, .blockDevice:
            node.device = inode.device
        case .directory:
            node.isImplicit = inode.buildNumber == 0
        case .fifo, .socket:
            break
        }
        return node
    }
}

/// Reads a bootstrap's tree, one directory after another.
private struct TreeReader {
    private struct Pending {
        var inode: Inode
        var node: FileTree.NodeID
        var parent: UInt64
        var depth: Int
        var path: [UInt8]
    }

    private(set) var tree = FileTree()
    private(set) var nodes: [UInt64: FileTree.NodeID] = [:]
    private var linkCounts: [UInt64: (found: UInt32, stored: UInt32)] = [:]
    private var nameCount: UInt64 = 1
    private let limits: BootstrapLimits

    init(limits: BootstrapLimits) {
        self.limits = limits
    }

    mutating func read(_ bootstrap: borrowing Bootstrap) throws(ContentError) {
        let root = try bootstrap.root()
        tree[FileTree.root] = try bootstrap.node(of: root)
        nodes[root.nid] = FileTree.root
        var pending = [
            Pending(inode: root, node: FileTree.root, parent: root.nid, depth: 0, path: [])
        ]
        while let directory = pending.popLast() {
            do throws(ContentError) {
                try read(directory, of: bootstrap, into: &pending)
            } catch {
                throw error.at(escapedText(of: directory.path.isEmpty ? [0x2f] : directory.path))
            }
        }
        for (nid, count) in linkCounts where count.found != count.stored {
            throw .corrupt("inode \(nid): \(count.found) names, its link count is \(count.stored)")
        }
        guard nameCount == bootstrap.layout.inodeCount else {
            throw .corrupt(
                "bootstrap: \(nameCount) names, its superblock says \(bootstrap.layout.inodeCount)"
            )
        }
    }

    private mutating func read(
        _ directory: Pending,
        of bootstrap: borrowing Bootstrap,
        into pending: inout [Pending]
    ) throws(ContentError) {
        guard directory.depth <= limits.depth else {
            throw ContentError(.limitExceeded, "more than \(limits.depth) directories deep")
        }
        var names: [(name: FileName, nid: UInt64, type: FileType?)] = []
        try bootstrap.forEachEntry(of: directory.inode) { (entry) throws(ContentError) in
            let name = FileName(try entry.name.bytes(at: 0, count: entry.name.byteCount))
            if let last = names.last, last.name >= name {
                throw .corrupt("name \(name) does not follow \(last.name)")
            }
            names.append((name, entry.nid, entry.type))
            return true
        }
        try checkDots(names, directory)
        var subdirectories: UInt32 = 0
        for entry in names where entry.name != FileName(".") && entry.name != FileName("..") {
            guard entry.name.isValid else { throw .corrupt("a file cannot be named \(entry.name)") }
            let path = directory.path + [0x2f] + entry.name.bytes
            let isDirectory = try add(entry, path, directory, of: bootstrap, into: &pending)
            subdirectories += isDirectory ? 1 : 0
        }
        guard directory.inode.linkCount == 2 + subdirectories else {
            throw .corrupt(
                "\(subdirectories) sub-directories, its link count is \(directory.inode.linkCount)"
            )
        }
    }

    private func checkDots(
        _ names: [(name: FileName, nid: UInt64, type: FileType?)],
        _ directory: Pending
    ) throws(ContentError) {
        for (name, nid) in [(".", directory.inode.nid), ("..", directory.parent)] {
            guard names.contains(where: { $0.name == FileName(name) && $0.nid == nid }) else {
                throw .corrupt("\"\(name)\" is missing, or does not name inode \(nid)")
            }
        }
    }

    /// Adds one name; a sub-directory is read later.
    private mutating func add(
        _ entry: (name: FileName, nid: UInt64, type: FileType?),
        _ path: [UInt8],
        _ directory: Pending,
        of bootstrap: borrowing Bootstrap,
        into pending: inout [Pending]
    ) throws(ContentError) -> Bool {
        nameCount += 1
        guard nameCount <= limits.names else {
            throw ContentError(.limitExceeded, "more than \(limits.names) names in the image")
        }
        if let known = nodes[entry.nid] {
            guard tree[known].type != .directory else {
                throw .corrupt("\(entry.name): a second name of directory inode \(entry.nid)")
            }
            linkCounts[entry.nid]?.found += 1
            tree[directory.node].children[entry.name] = known
            return false
        }
        do throws(ContentError) {
            let inode = try bootstrap.inode(entry.nid)
            guard entry.type == inode.type else {
                throw .corrupt("a \(inode.type), its directory says otherwise")
            }
            let node = tree.add(try bootstrap.node(of: inode))
            nodes[entry.nid] = node
            tree[directory.node].children[entry.name] = node
            guard inode.type == .directory else {
                linkCounts[entry.nid] = (1, inode.linkCount)
                return false
            }
            pending.append(
                Pending(
                    inode: inode,
                    node: node,
                    parent: directory.inode.nid,
                    depth: directory.depth + 1,
                    path: path
                )
            )
            return true
        } catch {
            throw error.at(entry.name.description)
        }
    }
}
