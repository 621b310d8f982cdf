// SPDX-License-Identifier: Apache-2.0

import Content

/// Where every inode of a tree goes in a bootstrap.
struct BootstrapPlacement {
    /// One inode's place.
    struct Place {
        /// The inode's offset in the bootstrap; 0 until it has one.
        var inodeOffset = 0
        /// The first block of content that does not stand inline; 0 if there is none.
        var firstBlock: UInt32 = 0
        /// Whether the content's last, short block stands behind the inode.
        var isInline = false
        /// Bytes of content of a directory or link.
        var contentSize = 0
        /// The directory that ".." names; for the root the root.
        var parent = FileTree.root
    }

    /// Every node that has a name, in the order of the file.
    private(set) var order: [FileTree.NodeID] = []
    /// The places, by node index.
    private(set) var places: [Place]
    /// The number of names, the root's included.
    private(set) var nameCount: UInt64 = 1
    private(set) var hasXattrs = false
    /// The size of everything before the chunk table, in bytes.
    private(set) var byteCount = 0
    private let metadataOffset: Int

    /// Places every node.
    ///
    /// - Parameters:
    ///   - tree: the tree.
    ///   - metadataOffset: where nid 0 lies, in bytes; a multiple of 4096.
    /// - Throws: `ContentError` naming the file that RAFS v6 cannot hold.
    init(tree: FileTree, metadataOffset: Int) throws(ContentError) {
        self.metadataOffset = metadataOffset
        places = Array(repeating: Place(), count: tree.nodeCount)
        // One block in, so that the root's nid is never 0.
        byteCount = metadataOffset + BootstrapFormat.blockSize
        var pending = [FileTree.root]
        try place(FileTree.root, in: tree)
        while let directory = pending.popLast() {
            let children = tree.sortedChildren(of: directory)
            nameCount += UInt64(children.count)
            for child in children where !child.name.isValid {
                throw .unsupported("\(tree.path(of: directory)): a file named \(child.name)")
            }
            for child in children where tree[child.node].type != .directory {
                guard places[Int(child.node.index)].inodeOffset == 0 else { continue }
                try place(child.node, in: tree)
            }
            for child in children.reversed() where tree[child.node].type == .directory {
                places[Int(child.node.index)].parent = directory
                pending.append(child.node)
            }
            // The directories are placed when they are reached, but for the next one to come.
            if let next = pending.last { try place(next, in: tree) }
        }
        placeBlocks()
    }

    /// The number by which the inode is named.
    func nid(of node: FileTree.NodeID) -> UInt64 {
        let offset = places[Int(node.index)].inodeOffset - metadataOffset
        return UInt64(offset / BootstrapFormat.inodeAlignment)
    }

    private mutating func place(
        _ id: FileTree.NodeID,
        in tree: FileTree
    ) throws(ContentError) {
        let node = tree[id]
        let xattrByteCount: Int
        do throws(ContentError) {
            xattrByteCount = try XattrEncoder.byteCount(node.xattrs)
        } catch {
            throw error.at(tree.path(of: id))
        }
        let header = Inode.extendedSize + xattrByteCount
        hasXattrs = hasXattrs || !node.xattrs.isEmpty
        var place = places[Int(id.index)]
        var offset = byteCount
        var size = header
        switch node.type {
        case .directory:
            place.contentSize = DirectoryEncoder.byteCount(of: node)
        case .symlink:
            place.contentSize = node.target.count
        case .regular:
            size = header.roundedUp(toMultipleOf: 8) + node.chunks.count * 8
        default:
            break
        }
        let tail = place.contentSize % BootstrapFormat.blockSize
        if tail > 0, header + tail <= BootstrapFormat.blockSize {
            // Inline data must end in the block in which the inode begins.
            place.isInline = true
            size = header + tail
            if offset % BootstrapFormat.blockSize + size > BootstrapFormat.blockSize {
                offset = offset.roundedUp(toMultipleOf: BootstrapFormat.blockSize)
            }
        }
        place.inodeOffset = offset
        byteCount = (offset + size).roundedUp(toMultipleOf: BootstrapFormat.inodeAlignment)
        places[Int(id.index)] = place
        order.append(id)
    }

    /// Gives every directory and link that is not wholly inline its blocks, after all inodes.
    private mutating func placeBlocks() {
        let blockSize = BootstrapFormat.blockSize
        byteCount = byteCount.roundedUp(toMultipleOf: blockSize)
        for id in order {
            let place = places[Int(id.index)]
            let content = place.contentSize
            let blocks =
                place.isInline ? content / blockSize : (content + blockSize - 1) / blockSize
            guard blocks > 0 else { continue }
            places[Int(id.index)].firstBlock = UInt32(truncatingIfNeeded: byteCount / blockSize)
            byteCount += blocks * blockSize
        }
    }
}
