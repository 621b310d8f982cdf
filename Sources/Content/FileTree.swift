// SPDX-License-Identifier: Apache-2.0

/// A tree of files: of one layer, or of a whole image.
///
/// Nodes live in one array and name each other by index; a node with several names is a hard
/// link. Memory is a few hundred bytes per entry; contents are named by chunks, not held.
package struct FileTree: Sendable {
    /// Names a node of one tree.
    package struct NodeID: Hashable, Sendable {
        /// The position in the tree's array of nodes.
        package var index: UInt32

        /// The node at that position.
        package init(index: UInt32) {
            self.index = index
        }
    }

    /// One file of any type.
    package struct Node: Sendable {
        /// The type of file.
        package var type: FileType
        /// Owner, permissions, time.
        package var attributes: FileAttributes
        /// Extended attributes, ascending by name, each name once.
        package var xattrs: [ExtendedAttribute] = []
        /// Size of a regular file's content, in bytes.
        package var size: UInt64 = 0
        /// A regular file's content: one address for each `chunkSize` bytes begun.
        package var chunks: [ChunkAddress] = []
        /// A symbolic link's target.
        package var target: [UInt8] = []
        /// A device node's number.
        package var device = DeviceNumber(major: 0, minor: 0)
        /// A directory's entries.
        package var children: [FileName: NodeID] = [:]
        /// A directory that only the paths of other entries imply: it changes nothing about a
        /// directory of a lower layer, and follows a symbolic link there.
        package var isImplicit = false

        /// A node with type and attributes and nothing else.
        package init(type: FileType, attributes: FileAttributes) {
            self.type = type
            self.attributes = attributes
        }

        /// An empty directory that no entry describes.
        package static var implicitDirectory: Node {
            var node = Node(type: .directory, attributes: .implicitDirectory)
            node.isImplicit = true
            return node
        }
    }

    /// The root directory.
    package static let root = NodeID(index: 0)

    private var nodes: [Node]

    /// A tree of nothing but an implicit root directory.
    package init() {
        nodes = [.implicitDirectory]
    }

    /// The number of nodes ever added, the root included; some may have lost their last name.
    package var nodeCount: Int { nodes.count }

    /// The node.
    package subscript(id: NodeID) -> Node {
        _read { yield nodes[Int(id.index)] }
        _modify { yield &nodes[Int(id.index)] }
    }

    /// Adds a node that has no name yet.
    ///
    /// Whoever adds what input says bounds the number of nodes: 2^32 are the most there can be.
    ///
    /// - Parameter node: the node.
    /// - Returns: its identity in this tree.
    package mutating func add(_ node: Node) -> NodeID {
        nodes.append(node)
        return NodeID(index: UInt32(nodes.count - 1))
    }

    /// Replaces every chunk address of every node.
    ///
    /// - Parameter transform: gives the new address for an old one.
    package mutating func mapChunks(_ transform: (ChunkAddress) -> ChunkAddress) {
        for index in nodes.indices {
            for chunk in nodes[index].chunks.indices {
                nodes[index].chunks[chunk] = transform(nodes[index].chunks[chunk])
            }
        }
    }
}

extension FileTree {
    /// One name on a walk through the tree.
    package struct Visit: Sendable {
        /// The directory that holds the name; the root itself for the root.
        package var parent: NodeID
        /// The name; empty for the root.
        package var name: FileName
        /// What the name names.
        package var node: NodeID
    }

    /// The children of a directory, ascending by name.
    package func sortedChildren(of directory: NodeID) -> [(name: FileName, node: NodeID)] {
        self[directory].children.map { (name: $0.key, node: $0.value) }
            .sorted { $0.name < $1.name }
    }

    /// Every name in the tree, the root first, by levels; names ascending in each directory.
    ///
    /// - Parameter body: called once for each name; a node with several names comes several times.
    /// - Throws: what the body throws.
    package func walkBreadthFirst<Failure: Error>(
        _ body: (Visit) throws(Failure) -> Void
    ) throws(Failure) {
        var level = [Visit(parent: Self.root, name: FileName([]), node: Self.root)]
        while !level.isEmpty {
            var next: [Visit] = []
            for visit in level {
                try body(visit)
                guard self[visit.node].type == .directory else { continue }
                for child in sortedChildren(of: visit.node) {
                    next.append(Visit(parent: visit.node, name: child.name, node: child.node))
                }
            }
            level = next
        }
    }

    /// The first path of a node in that walk, escaped, for messages: it walks the whole tree.
    ///
    /// - Parameter id: the node.
    /// - Returns: the path from the root; "a file without a name" if nothing leads to the node.
    package func path(of id: NodeID) -> String {
        guard id != Self.root else { return "/" }
        var first: [NodeID: Visit] = [:]
        walkBreadthFirst { visit in
            if first[visit.node] == nil { first[visit.node] = visit }
        }
        var path = ""
        var current = id
        while current != Self.root {
            guard let visit = first[current] else { return "a file without a name" }
            path = "/\(visit.name)\(path)"
            current = visit.parent
        }
        return path
    }

    /// How many names each node has, by node index; a directory has 2 plus its sub-directories.
    package func linkCounts() -> [UInt32] {
        var counts = [UInt32](repeating: 0, count: nodeCount)
        walkBreadthFirst { visit in
            if self[visit.node].type == .directory {
                counts[Int(visit.node.index)] += 2
                if visit.node != Self.root { counts[Int(visit.parent.index)] += 1 }
            } else {
                counts[Int(visit.node.index)] += 1
            }
        }
        return counts
    }
}
