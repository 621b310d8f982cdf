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
        var reader = TreeReader(limits: limits, byteCount: layout.byteCount)
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
            for index in 0..<chunkCount(of: inode) {
                node.chunks.append(try chunk(index, of: inode).address)
            }
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
    /// A directory found, whose entries are read later.
    private struct Pending {
        var inode: Inode
        var node: FileTree.NodeID
        var parent: UInt64
        var depth: Int
        /// The position in `directories`.
        var place: Int
    }

    private typealias Entry = (name: FileName, nid: UInt64, type: FileType?)

    private(set) var tree = FileTree()
    private(set) var nodes: [UInt64: FileTree.NodeID] = [:]
    private var linkCounts: [UInt64: (found: UInt32, stored: UInt32)] = [:]
    private var nameCount: UInt64 = 1
    private let limits: BootstrapLimits
    /// The name of every directory found, and the position of the one it lies in: for messages.
    private var directories: [(name: FileName, parent: Int)] = []
    /// Bytes of the bootstrap that nothing read so far has claimed as its own.
    ///
    /// Each inode and name has its own bytes, so a small bootstrap cannot unfold into a large tree by naming the same
    /// bytes over and over.
    private var unclaimed: UInt64

    private static let dot = FileName(".")
    private static let dotDot = FileName("..")

    init(limits: BootstrapLimits, byteCount: Int) {
        self.limits = limits
        unclaimed = UInt64(byteCount)
    }

    mutating func read(_ bootstrap: borrowing Bootstrap) throws(ContentError) {
        let root = try bootstrap.root()
        tree[FileTree.root] = try node(of: root, in: bootstrap)
        nodes[root.nid] = FileTree.root
        directories.append((FileName([]), 0))
        var pending = [
            Pending(inode: root, node: FileTree.root, parent: root.nid, depth: 0, place: 0)
        ]
        while let directory = pending.popLast() {
            do throws(ContentError) {
                try read(directory, of: bootstrap, into: &pending)
            } catch {
                throw error.at(path(ofDirectory: directory.place))
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

    private func path(ofDirectory place: Int) -> String {
        var path = ""
        var current = place
        while current != 0 {
            path = "/\(directories[current].name)\(path)"
            current = directories[current].parent
        }
        return path.isEmpty ? "/" : path
    }

    private mutating func claim(_ byteCount: UInt64) throws(ContentError) {
        guard byteCount <= unclaimed else {
            throw .corrupt("more inodes, names and chunks than the bootstrap has bytes for")
        }
        unclaimed -= byteCount
    }

    /// The node of an inode whose bytes are not claimed yet.
    private mutating func node(
        of inode: Inode,
        in bootstrap: borrowing Bootstrap
    ) throws(ContentError) -> FileTree.Node {
        try claim(UInt64(inode.tailOffset - inode.offset))
        switch inode.type {
        case .regular: try claim(8 * bootstrap.chunkCount(of: inode))
        case .symlink: try claim(inode.size)
        default: break
        }
        return try bootstrap.node(of: inode)
    }

    private mutating func read(
        _ directory: Pending,
        of bootstrap: borrowing Bootstrap,
        into pending: inout [Pending]
    ) throws(ContentError) {
        guard directory.depth <= limits.depth else {
            throw .limitExceeded(
                "more than \(limits.depth) directories deep",
                raisedBy: "max-depth"
            )
        }
        var names: [Entry] = []
        try bootstrap.forEachEntry(of: directory.inode) { (entry) throws(ContentError) in
            try claim(UInt64(DirentBlock.direntSize + entry.name.byteCount))
            let name = FileName(try entry.name.bytes(at: 0, count: entry.name.byteCount))
            if let last = names.last, last.name >= name {
                throw .corrupt("name \(name) does not follow \(last.name)")
            }
            names.append((name, entry.nid, entry.type))
            return true
        }
        try take(Self.dot, directory.inode.nid, from: &names)
        try take(Self.dotDot, directory.parent, from: &names)
        var subdirectories: UInt32 = 0
        for entry in names {
            guard entry.name.isValid else { throw .corrupt("a file cannot be named \(entry.name)") }
            let isDirectory = try add(entry, directory, of: bootstrap, into: &pending)
            subdirectories += isDirectory ? 1 : 0
        }
        guard directory.inode.linkCount == 2 + subdirectories else {
            throw .corrupt(
                "\(subdirectories) sub-directories, its link count is \(directory.inode.linkCount)"
            )
        }
    }

    /// Takes "." or ".." out of a directory's entries.
    private func take(
        _ dots: FileName,
        _ nid: UInt64,
        from names: inout [Entry]
    ) throws(ContentError) {
        guard let index = names.firstIndex(where: { $0.name == dots }),
            names[index].nid == nid, names[index].type == .directory
        else { throw .corrupt("\"\(dots)\" is missing, or does not name directory inode \(nid)") }
        names.remove(at: index)
    }

    /// Adds one name; a sub-directory is read later.
    private mutating func add(
        _ entry: Entry,
        _ directory: Pending,
        of bootstrap: borrowing Bootstrap,
        into pending: inout [Pending]
    ) throws(ContentError) -> Bool {
        nameCount += 1
        guard nameCount <= limits.names else {
            throw .limitExceeded(
                "more than \(limits.names) names in the image",
                raisedBy: "max-entries"
            )
        }
        if let known = nodes[entry.nid] {
            guard tree[known].type != .directory else {
                throw .corrupt("\(entry.name): a second name of directory inode \(entry.nid)")
            }
            guard entry.type == tree[known].type else {
                throw .corrupt("\(entry.name): a \(tree[known].type), its directory says otherwise")
            }
            linkCounts[entry.nid]?.found += 1
            tree[directory.node].children[entry.name] = known
            return false
        }
        do throws(ContentError) {
            return try addFirstName(entry, directory, of: bootstrap, into: &pending)
        } catch {
            throw error.at(entry.name.description)
        }
    }

    private mutating func addFirstName(
        _ entry: Entry,
        _ directory: Pending,
        of bootstrap: borrowing Bootstrap,
        into pending: inout [Pending]
    ) throws(ContentError) -> Bool {
        let inode = try bootstrap.inode(entry.nid)
        guard entry.type == inode.type else {
            throw .corrupt("a \(inode.type), its directory says otherwise")
        }
        let node = tree.add(try node(of: inode, in: bootstrap))
        nodes[entry.nid] = node
        tree[directory.node].children[entry.name] = node
        guard inode.type == .directory else {
            linkCounts[entry.nid] = (1, inode.linkCount)
            return false
        }
        directories.append((entry.name, directory.place))
        pending.append(
            Pending(
                inode: inode,
                node: node,
                parent: directory.inode.nid,
                depth: directory.depth + 1,
                place: directories.count - 1
            )
        )
        return true
    }
}
