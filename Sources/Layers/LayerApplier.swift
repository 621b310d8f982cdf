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
/// First the layer's whiteouts, then its additions. A directory meets a directory: attributes are the upper's, children merge. Anything else replaces. An implicit
/// directory changes no attributes, and where the lower layers have a symbolic link in its place
/// it means the directory the link leads to: so unpacking on a file system behaves.
package struct LayerApplier {
    /// The tree of the layers applied so far.
    package private(set) var tree = FileTree()

    private struct Pending {
        var upper: FileTree.NodeID
        /// The directories from the root to the one the upper directory is merged into.
        var lower: [FileTree.NodeID]
    }

    /// No layers yet: an empty root.
    package init() {}

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
        // All whiteouts first: two paths of the layer may lead to one directory below, and what
        // one of them brings must not be hidden by the other.
        try applyWhiteouts(of: layer)
        try applyAdditions(of: layer, chunk: chunk)
    }

    private mutating func applyWhiteouts(of layer: FileTree) throws(ContentError) {
        var pending = [Pending(upper: FileTree.root, lower: [FileTree.root])]
        while let directory = pending.popLast() {
            let into = directory.lower[directory.lower.count - 1]
            let children = layer.sortedChildren(of: directory.upper)
            for child in children { try applyWhiteout(child.name, in: into) }
            for child in children where layer[child.node].type == .directory {
                let isImplicit = layer[child.node].isImplicit
                let lower = try existing(child.name, in: directory.lower, isImplicit: isImplicit)
                if let lower { pending.append(Pending(upper: child.node, lower: lower)) }
            }
        }
    }

    /// The directories down to the one that an upper directory meets; nil if it meets none.
    private mutating func existing(
        _ name: FileName,
        in parents: [FileTree.NodeID],
        isImplicit: Bool
    ) throws(ContentError) -> [FileTree.NodeID]? {
        guard let lower = tree[parents[parents.count - 1]].children[name] else { return nil }
        switch tree[lower].type {
        case .directory: return parents + [lower]
        case .symlink where isImplicit: return tree.existingDirectory(at: name, from: parents)
        default: return nil
        }
    }

    private mutating func applyAdditions(
        of layer: FileTree,
        chunk: (ChunkAddress) -> ChunkAddress
    ) throws(ContentError) {
        let bringsSomething = Self.directoriesThatBringSomething(layer)
        // Which node of the merged tree a node of the layer became, for its other names.
        var known: [FileTree.NodeID: FileTree.NodeID] = [:]
        describe(FileTree.root, as: layer[FileTree.root])
        var pending = [Pending(upper: FileTree.root, lower: [FileTree.root])]
        while let directory = pending.popLast() {
            let into = directory.lower[directory.lower.count - 1]
            for child in layer.sortedChildren(of: directory.upper)
            where Whiteout(child.name) == nil {
                guard layer[child.node].type != .directory else {
                    guard bringsSomething[Int(child.node.index)] else { continue }
                    let lower = try descend(layer[child.node], child.name, directory.lower)
                    pending.append(Pending(upper: child.node, lower: lower))
                    continue
                }
                if known[child.node] == nil {
                    var node = layer[child.node]
                    node.chunks = node.chunks.map(chunk)
                    known[child.node] = tree.add(node)
                }
                tree[into].children[child.name] = known[child.node]
            }
        }
    }

    /// Which directories an entry describes, or have something in them that one brings; by index.
    ///
    /// An implicit directory with nothing but whiteouts below it makes no directory.
    private static func directoriesThatBringSomething(_ layer: FileTree) -> [Bool] {
        var result = [Bool](repeating: false, count: layer.nodeCount)
        var directories: [FileTree.Visit] = []
        layer.walkBreadthFirst { visit in
            if layer[visit.node].type == .directory {
                directories.append(visit)
                result[Int(visit.node.index)] =
                    result[Int(visit.node.index)] || !layer[visit.node].isImplicit
            } else if Whiteout(visit.name) == nil {
                result[Int(visit.parent.index)] = true
            }
        }
        for visit in directories.reversed() where result[Int(visit.node.index)] {
            result[Int(visit.parent.index)] = true
        }
        return result
    }

    private mutating func applyWhiteout(
        _ name: FileName,
        in directory: FileTree.NodeID
    ) throws(ContentError) {
        switch Whiteout(name) {
        case .name(let hidden):
            guard hidden.isValid else { throw .corrupt("whiteout \(name) names no file") }
            tree[directory].children[hidden] = nil
        case .opaque:
            tree[directory].children.removeAll()
        case .ignored, nil:
            break
        }
    }

    /// The directories down to the one that an upper directory is merged into.
    private mutating func descend(
        _ upper: FileTree.Node,
        _ name: FileName,
        _ parents: [FileTree.NodeID]
    ) throws(ContentError) -> [FileTree.NodeID] {
        let parent = parents[parents.count - 1]
        if let lower = tree[parent].children[name] {
            if tree[lower].type == .directory {
                describe(lower, as: upper)
                return parents + [lower]
            }
            if tree[lower].type == .symlink, upper.isImplicit {
                return try tree.directory(at: [name], from: parents, shown: name.description)
            }
        }
        var node = upper
        node.children = [:]
        let made = tree.add(node)
        tree[parent].children[name] = made
        return parents + [made]
    }

    /// Gives a directory the attributes of an upper one, if an entry described that.
    private mutating func describe(_ id: FileTree.NodeID, as upper: FileTree.Node) {
        guard !upper.isImplicit else { return }
        tree[id].attributes = upper.attributes
        tree[id].xattrs = upper.xattrs
        tree[id].isImplicit = false
    }
}
