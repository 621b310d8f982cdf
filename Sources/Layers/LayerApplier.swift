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
/// In each directory first the layer's whiteouts, then its additions. A directory meets a
/// directory: attributes are the upper's, children merge. Anything else replaces. An implicit
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
        // Which node of the merged tree a node of the layer became, for its other names.
        var known: [FileTree.NodeID: FileTree.NodeID] = [:]
        describe(FileTree.root, as: layer[FileTree.root])
        var pending = [Pending(upper: FileTree.root, lower: [FileTree.root])]
        while let directory = pending.popLast() {
            let into = directory.lower[directory.lower.count - 1]
            let children = layer.sortedChildren(of: directory.upper)
            for child in children { try applyWhiteout(child.name, in: into) }
            for child in children where Whiteout(child.name) == nil {
                guard layer[child.node].type != .directory else {
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
