// SPDX-License-Identifier: Apache-2.0

package import Content

/// What a name in a layer's directory says of the layers below.
enum Whiteout {
    /// Hides one name of the lower layers.
    case name(FileName)
    /// Hides everything the lower layers have in this directory.
    case opaque
    /// Bookkeeping of AUFS, which means nothing here.
    case ignored

    private static let prefix = Array(".wh.".utf8)
    private static let metaPrefix = Array(".wh..wh.".utf8)
    private static let opaqueMarker = Array(".wh..wh..opq".utf8)

    /// What the name means; nil for the name of an ordinary file (OCI image-spec, layer.md).
    init?(_ name: FileName) {
        guard name.bytes.starts(with: Self.prefix) else { return nil }
        if name.bytes == Self.opaqueMarker {
            self = .opaque
        } else if name.bytes.starts(with: Self.metaPrefix) {
            self = .ignored
        } else {
            self = .name(FileName(name.bytes.dropFirst(Self.prefix.count)))
        }
    }
}

/// Folds layers into one tree, lowest first.
///
/// First all whiteouts of a layer, which hide only what lower layers have, then its additions. A
/// directory meets a directory: attributes are the upper's, children merge. Anything else
/// replaces. An implicit directory changes no attributes, and where the lower layers have a
/// symbolic link in its place it means the directory the link leads to: so unpacking on a file
/// system behaves.
package struct LayerApplier {
    /// The tree of the layers applied so far.
    package private(set) var tree = FileTree()
    private let limits: LayerLimits

    /// A directory of the upper layer that is still to be met with the tree.
    private struct Pending {
        var upper: FileTree.NodeID
        var name: FileName
        /// The tree's directories from the root to the one it lies in; siblings share the array.
        var parents: [FileTree.NodeID]
    }

    /// No layers yet: an empty root.
    ///
    /// - Parameter limits: what the tree may cost; what upper layers hide counts as well.
    package init(limits: LayerLimits = .standard) {
        self.limits = limits
    }

    /// Applies a layer on top of those before.
    ///
    /// - Parameters:
    ///   - layer: the layer's tree.
    ///   - chunk: gives the address in the merged image of a chunk address of the layer.
    /// - Throws: `ContentError` naming what contradicts.
    package mutating func apply(
        _ layer: FileTree,
        chunk: (ChunkAddress) -> ChunkAddress
    ) throws(ContentError) {
        try applyWhiteouts(of: layer)
        try applyAdditions(of: layer, chunk: chunk)
    }

    private mutating func applyWhiteouts(of layer: FileTree) throws(ContentError) {
        var pending: [Pending] = []
        try applyWhiteouts(in: FileTree.root, of: layer, to: [FileTree.root], &pending)
        while let directory = pending.popLast() {
            // What is missing stays so: making it here could bring back what a whiteout hides.
            let lower = try lowerDirectory(directory, of: layer, missing: .absent)
            guard !lower.isEmpty else { continue }
            try applyWhiteouts(in: directory.upper, of: layer, to: lower, &pending)
        }
    }

    private mutating func applyWhiteouts(
        in upper: FileTree.NodeID,
        of layer: FileTree,
        to lower: [FileTree.NodeID],
        _ pending: inout [Pending]
    ) throws(ContentError) {
        let directory = lower[lower.count - 1]
        // In one order for all runs: a whiteout can hide a link that another one's path leads over.
        let children = layer[upper].children
            .filter { layer[$0.value].type == .directory || Whiteout($0.key) != nil }
            .sorted { $1.key < $0.key }
        for (name, node) in children {
            switch Whiteout(name) {
            case .name(let hidden):
                guard hidden.isValid else {
                    throw .corrupt("\(layer.path(of: upper)): whiteout \(name) names no file")
                }
                tree[directory].children[hidden] = nil
            case .opaque:
                tree[directory].children.removeAll()
            case .ignored:
                break
            case nil where layer[node].type == .directory:
                pending.append(Pending(upper: node, name: name, parents: lower))
            case nil:
                break
            }
        }
    }

    /// The directories down to the one of lower layers that an upper one is merged with; none if
    /// it is new.
    private mutating func lowerDirectory(
        _ upper: Pending,
        of layer: FileTree,
        missing: FileTree.Missing
    ) throws(ContentError) -> [FileTree.NodeID] {
        let parent = upper.parents[upper.parents.count - 1]
        guard let lower = tree[parent].children[upper.name] else { return [] }
        switch tree[lower].type {
        case .directory:
            return upper.parents + [lower]
        case .symlink where layer[upper.upper].isImplicit:
            return try tree.directory(
                at: [upper.name],
                from: upper.parents,
                missing: missing,
                limits: limits,
                shown: layer.path(of: upper.upper)
            )
        default:
            return []
        }
    }

    private mutating func applyAdditions(
        of layer: FileTree,
        chunk: (ChunkAddress) -> ChunkAddress
    ) throws(ContentError) {
        let bringsSomething = Self.nodesThatBringSomething(layer)
        // Which node of the merged tree a node of the layer became, for its other names.
        var known: [FileTree.NodeID: FileTree.NodeID] = [:]
        describe(FileTree.root, as: layer[FileTree.root])
        var next: Pending?
        var pending: [Pending] = []
        repeat {
            var path = [FileTree.root]
            if let directory = next { path = try descend(directory, of: layer) }
            let into = path[path.count - 1]
            let children = layer.sortedChildren(of: next?.upper ?? FileTree.root)
                .filter { Whiteout($0.name) == nil && bringsSomething[Int($0.node.index)] }
            for child in children where layer[child.node].type != .directory {
                if known[child.node] == nil {
                    var node = layer[child.node]
                    node.chunks = node.chunks.map(chunk)
                    known[child.node] = try add(node, child.name)
                }
                tree[into].children[child.name] = known[child.node]
            }
            for child in children.reversed() where layer[child.node].type == .directory {
                pending.append(Pending(upper: child.node, name: child.name, parents: path))
            }
            next = pending.popLast()
        } while next != nil
    }

    /// Which nodes are more than implicit directories with nothing but whiteouts below, by index:
    /// a whiteout hides what is there, and makes no directory.
    private static func nodesThatBringSomething(_ layer: FileTree) -> [Bool] {
        var result = [Bool](repeating: true, count: layer.nodeCount)
        var directories: [FileTree.Visit] = []
        layer.walkBreadthFirst { visit in
            if layer[visit.node].isImplicit { directories.append(visit) }
        }
        // The deepest first: each looks only at what has been decided.
        for visit in directories.reversed() {
            result[Int(visit.node.index)] = layer[visit.node].children
                .contains { Whiteout($0.key) == nil && result[Int($0.value.index)] }
        }
        return result
    }

    /// The directories down to the one that an upper directory adds to, which is made if need be.
    private mutating func descend(
        _ directory: Pending,
        of layer: FileTree
    ) throws(ContentError) -> [FileTree.NodeID] {
        let upper = layer[directory.upper]
        let known = try lowerDirectory(directory, of: layer, missing: .made)
        if let last = known.last {
            describe(last, as: upper)
            return known
        }
        var node = upper
        node.children = [:]
        let made = try add(node, directory.name)
        tree[directory.parents[directory.parents.count - 1]].children[directory.name] = made
        let path = directory.parents + [made]
        try limits.check(depth: path.count - 1, shown: layer.path(of: directory.upper))
        return path
    }

    private mutating func add(
        _ node: FileTree.Node,
        _ name: FileName
    ) throws(ContentError) -> FileTree.NodeID {
        try tree.add(node, limits: limits, shown: "\(name), all layers together")
    }

    /// Gives a directory the attributes of an upper one, if an entry described that.
    private mutating func describe(_ id: FileTree.NodeID, as upper: FileTree.Node) {
        guard !upper.isImplicit else { return }
        tree[id].attributes = upper.attributes
        tree[id].xattrs = upper.xattrs
        tree[id].isImplicit = false
    }
}
