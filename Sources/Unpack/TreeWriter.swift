// SPDX-License-Identifier: Apache-2.0

import Content
import Linux

/// Makes the names of a tree, and hands the files' contents to the writers.
///
/// 1. The root was empty and is closed to others while it is filled: what is in it is made here.
/// 2. Every name is made in a directory that is held open, and must be new: no link is followed, so
///    nothing leaves the root, whatever the image says.
/// 3. A directory's attributes are set when everything below it has its name.
struct TreeWriter {
    private let tree: FileTree
    private let writers: ContentWriters
    private let stop: StopSign
    private let linkCounts: [UInt32]
    /// The first names of files that have several.
    private var firstNames: [FileTree.NodeID: Place] = [:]

    /// A name, and those of the directories above it, the root's left out.
    private struct Place {
        var directories: [FileName]
        var name: FileName

        var path: String { (directories + [name]).map { "/\($0)" }.joined() }
    }

    init(_ tree: FileTree, _ writers: ContentWriters, _ stop: StopSign) {
        self.tree = tree
        self.writers = writers
        self.stop = stop
        linkCounts = tree.linkCounts()
    }

    /// Makes the tree.
    ///
    /// - Parameter root: an empty directory.
    /// - Throws: `SystemError` naming the path, `ContentError` if the work is to end.
    mutating func write(into root: borrowing OpenDirectory) throws {
        // Whoever owned it before must not swap names under our hands.
        try root.attributes.setOwner(user: 0, group: 0)
        try root.attributes.setPermissions(0o700)
        try fill(root, FileTree.root, [], root: root)
    }

    private mutating func fill(
        _ directory: borrowing OpenDirectory,
        _ id: FileTree.NodeID,
        _ names: [FileName],
        root: borrowing OpenDirectory
    ) throws {
        for child in tree.sortedChildren(of: id) {
            try stop.check()
            let place = Place(directories: names, name: child.name)
            guard tree[child.node].type == .directory else {
                try make(child.node, place, in: directory, root: root)
                continue
            }
            try named(place) { () throws(SystemError) in
                try directory.makeDirectory(child.name.bytes)
            }
            let inner = try directory.directory(child.name.bytes)
            try fill(inner, child.node, names + [child.name], root: root)
        }
        try directory.attributes.set(tree[id], "/" + names.map { "\($0)" }.joined(separator: "/"))
    }

    /// Lets an error name the whole path.
    private func named(
        _ place: Place,
        _ body: () throws(SystemError) -> Void
    ) throws(SystemError) {
        do throws(SystemError) {
            try body()
        } catch {
            throw SystemError(error.call, place.path, code: error.code)
        }
    }

    /// Makes a name of what is no directory.
    private mutating func make(
        _ id: FileTree.NodeID,
        _ place: Place,
        in directory: borrowing OpenDirectory,
        root: borrowing OpenDirectory
    ) throws {
        let name = place.name.bytes
        if let first = firstNames[id] {
            return try named(place) { () throws(SystemError) in
                try link(name, in: directory, to: first, from: root)
            }
        }
        if linkCounts[Int(id.index)] > 1 { firstNames[id] = place }
        let node = tree[id]
        guard node.type != .regular else { return try makeFile(node, place, in: directory) }
        try named(place) { () throws(SystemError) in
            if node.type == .symlink {
                try directory.makeSymbolicLink(name, to: node.target)
            } else {
                try directory.makeNode(
                    name,
                    type: node.type.modeBits,
                    major: node.device.major,
                    minor: node.device.minor
                )
            }
        }
        try directory.entry(name).set(node, place.path)
    }

    private func makeFile(
        _ node: FileTree.Node,
        _ place: Place,
        in directory: borrowing OpenDirectory
    ) throws {
        let size = ContentWriters.partSize
        let starts = Array(stride(from: 0, to: node.chunks.count, by: size))
        let file = OutputFile(
            try directory.makeFile(place.name.bytes),
            node,
            path: place.path,
            parts: max(starts.count, 1)
        )
        guard !starts.isEmpty else { return try file.finishPart() }
        for start in starts {
            let chunks = start..<min(start + size, node.chunks.count)
            guard writers.add(ContentWriters.Part(file: file, chunks: chunks)) else {
                throw ContentError(.inputOutput, "a thread that writes contents has failed")
            }
        }
    }

    /// Gives a file its further name: the way to the first leads down from the root, step by step.
    private func link(
        _ name: [UInt8],
        in directory: borrowing OpenDirectory,
        to first: Place,
        from root: borrowing OpenDirectory
    ) throws(SystemError) {
        guard let top = first.directories.first else {
            return try directory.makeHardLink(name, to: first.name.bytes, in: root)
        }
        var current = try root.directory(top.bytes)
        for step in first.directories.dropFirst() {
            current = try current.directory(step.bytes)
        }
        try directory.makeHardLink(name, to: first.name.bytes, in: current)
    }
}
