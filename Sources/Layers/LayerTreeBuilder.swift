// SPDX-License-Identifier: Apache-2.0

import Content
import Tar

/// Builds the tree of one layer from its tar entries, in their order.
///
/// Whiteouts stay in it as the empty files they are. Paths are resolved inside the layer: a later
/// entry replaces an earlier one of the same name, and a directory that only paths imply is made
/// as an implicit one.
struct LayerTreeBuilder {
    private(set) var tree = FileTree()
    private let limits: LayerLimits
    private var metadataBytes = 0
    private var contentBytes: UInt64 = 0

    /// The longest target of a symbolic link, in bytes: PATH_MAX without its NUL.
    private static let maximumTargetByteCount = 4095

    init(limits: LayerLimits) {
        self.limits = limits
    }

    /// Counts what an entry takes, in memory and of content, before its content is read.
    ///
    /// - Parameter entry: the entry, nothing of it left out yet.
    /// - Throws: `ContentError` naming the entry with which it is too much.
    mutating func count(_ entry: TarEntry) throws(ContentError) {
        metadataBytes += entry.path.count + entry.linkTarget.count
        for xattr in entry.xattrs { metadataBytes += xattr.name.count + xattr.value.count }
        guard metadataBytes <= limits.metadataBytes else {
            throw ContentError(
                .limitExceeded,
                "\(escapedText(of: entry.path)): more than \(limits.metadataBytes) bytes of paths,"
                    + " links and xattrs"
            )
        }
        // A file with holes costs no bytes in the archive, but all of them to whoever reads it.
        contentBytes = contentBytes.addingReportingOverflow(entry.size).partialValue
        guard entry.size <= limits.decodedBytes, contentBytes <= limits.decodedBytes else {
            throw limits.decodedError().at(escapedText(of: entry.path))
        }
    }

    /// Adds what an entry makes.
    ///
    /// - Parameters:
    ///   - entry: the entry.
    ///   - chunks: a regular file's content.
    /// - Throws: `ContentError` naming the entry.
    mutating func add(_ entry: TarEntry, chunks: [ChunkAddress]) throws(ContentError) {
        let shown = escapedText(of: entry.path)
        let components = try cleaned(entry.path, shown)
        guard let name = components.last else {
            // The root itself: "./" or "/".
            guard entry.kind == .directory else {
                throw .corrupt("\(shown): the root cannot be a \(entry.kind)")
            }
            return describe(FileTree.root, as: node(of: entry, chunks: []))
        }
        let parents = try tree.directory(
            at: components.dropLast(),
            from: [FileTree.root],
            limits: limits,
            shown: shown
        )
        let parent = parents[parents.count - 1]
        if entry.kind == .hardLink {
            tree[parent].children[name] = try linkTarget(of: entry, shown)
            return
        }
        try checkTarget(of: entry, shown)
        let node = node(of: entry, chunks: chunks)
        if node.type == .directory, let known = tree[parent].children[name],
            tree[known].type == .directory
        {
            return describe(known, as: node)
        }
        if node.type == .directory { try limits.check(depth: parents.count, shown: shown) }
        tree[parent].children[name] = try tree.add(node, limits: limits, shown: shown)
    }

    /// A link that no path can follow is no link: the kernel makes none, and neither do we.
    private func checkTarget(of entry: TarEntry, _ shown: String) throws(ContentError) {
        guard entry.kind == .symlink else { return }
        let target = entry.linkTarget
        guard (1...Self.maximumTargetByteCount).contains(target.count), !target.contains(0) else {
            throw .corrupt(
                "\(shown): a symbolic link to \(target.count) bytes, or with a NUL among them;"
                    + " 1...\(Self.maximumTargetByteCount) bytes make a target"
            )
        }
    }

    /// The names of a path after lexical cleaning.
    private func cleaned(_ path: [UInt8], _ shown: String) throws(ContentError) -> [FileName] {
        var result: [FileName] = []
        for name in FileTree.components(of: path) where name.bytes != [0x2e] {
            if name.bytes == [0x2e, 0x2e] {
                guard result.popLast() != nil else {
                    throw .corrupt("\(shown): the path leads out of the root directory")
                }
                continue
            }
            guard name.isValid else {
                throw .corrupt(
                    "\(shown): a name of \(name.bytes.count) bytes or with a NUL; at most"
                        + " \(FileName.maximumByteCount) bytes, none of them 0, make a name"
                )
            }
            result.append(name)
        }
        return result
    }

    private mutating func linkTarget(
        of entry: TarEntry,
        _ shown: String
    ) throws(ContentError) -> FileTree.NodeID {
        let target = escapedText(of: entry.linkTarget)
        let components = try cleaned(entry.linkTarget, shown)
        guard let name = components.last else {
            throw .corrupt("\(shown): a hard link to \"\(target)\"")
        }
        let parents = try tree.directory(
            at: components.dropLast(),
            from: [FileTree.root],
            limits: limits,
            shown: shown
        )
        guard let known = tree[parents[parents.count - 1]].children[name] else {
            throw .corrupt("\(shown): a hard link to \(target), which is not in the same layer")
        }
        guard tree[known].type != .directory else {
            throw .corrupt("\(shown): a hard link to the directory \(target)")
        }
        return known
    }

    /// Gives a directory the attributes of an entry; its children stay.
    private mutating func describe(_ id: FileTree.NodeID, as node: FileTree.Node) {
        tree[id].attributes = node.attributes
        tree[id].xattrs = node.xattrs
        tree[id].isImplicit = false
    }

    private func node(of entry: TarEntry, chunks: [ChunkAddress]) -> FileTree.Node {
        var node = FileTree.Node(type: entry.kind.fileType, attributes: entry.attributes)
        node.xattrs = entry.xattrs
        node.size = entry.size
        node.chunks = chunks
        node.device = entry.device
        if entry.kind == .symlink { node.target = entry.linkTarget }
        return node
    }
}

extension TarEntry.Kind {
    /// The type of file that an entry of this kind makes.
    fileprivate var fileType: FileType {
        switch self {
        case .regular, .hardLink: .regular
        case .symlink: .symlink
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        case .directory: .directory
        case .fifo: .fifo
        }
    }
}
