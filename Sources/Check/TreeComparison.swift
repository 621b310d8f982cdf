// SPDX-License-Identifier: Apache-2.0

import Content

/// Compares an image's tree with that of its source, name by name.
struct TreeComparison {
    private let image: FileTree
    private let source: FileTree
    private let digests: Digests
    /// What differs, one line each.
    private(set) var differences: [String] = []
    /// The names from the root to what is being compared.
    private var names: [FileName] = []
    /// Which node of the image a node of the source was found to be: hard links must agree.
    private var partners: [FileTree.NodeID: FileTree.NodeID] = [:]
    private var reversePartners: [FileTree.NodeID: FileTree.NodeID] = [:]

    /// The digests of a chunk of the image and one of the source, by the image's function; nil where
    /// unknown.
    typealias Digests = (
        _ image: ChunkAddress, _ source: ChunkAddress
    ) -> (image: Digest?, source: Digest?)

    init(
        image: FileTree,
        source: FileTree,
        digests: @escaping Digests
    ) {
        self.image = image
        self.source = source
        self.digests = digests
    }

    /// Compares everything.
    mutating func run() {
        var pending = [
            (depth: 0, name: FileName([]), image: FileTree.root, source: FileTree.root)
        ]
        while let pair = pending.popLast() {
            if pair.depth > 0 {
                names.removeSubrange((pair.depth - 1)...)
                names.append(pair.name)
            }
            guard compareIdentity(pair.image, pair.source) else { continue }
            compare(image[pair.image], source[pair.source])
            let ours = image[pair.image].children
            let theirs = source[pair.source].children
            for name in Set(ours.keys).union(theirs.keys).sorted().reversed() {
                switch (ours[name], theirs[name]) {
                case (let left?, let right?):
                    pending.append((pair.depth + 1, name, left, right))
                case (_?, nil):
                    differences.append("\(path(names + [name])): not in the source")
                case (nil, _):
                    differences.append("\(path(names + [name])): missing from the image")
                }
            }
        }
    }

    private func path(_ names: [FileName]) -> String {
        names.isEmpty ? "/" : names.map { "/\($0)" }.joined()
    }

    /// Whether the pair is to be compared: the second name of a pair that is known is not.
    private mutating func compareIdentity(
        _ ours: FileTree.NodeID,
        _ theirs: FileTree.NodeID
    ) -> Bool {
        let partner = partners[theirs]
        let reverse = reversePartners[ours]
        if partner == nil, reverse == nil {
            partners[theirs] = ours
            reversePartners[ours] = theirs
            return true
        }
        if partner != ours || reverse != theirs {
            differences.append("\(path(names)): linked with other names than in the source")
        }
        return false
    }

    private mutating func compare(_ ours: FileTree.Node, _ theirs: FileTree.Node) {
        guard ours.type == theirs.type else {
            return note("type", "\(ours.type)", "\(theirs.type)")
        }
        let left = ours.attributes
        let right = theirs.attributes
        note("mode", octal(left.permissions), octal(right.permissions))
        note("owner", "\(left.userID):\(left.groupID)", "\(right.userID):\(right.groupID)")
        note("mtime", time(left), time(right))
        compareXattrs(ours.xattrs, theirs.xattrs)
        switch ours.type {
        case .symlink:
            note("target", escapedText(of: ours.target), escapedText(of: theirs.target))
        case .characterDevice, .blockDevice:
            note(
                "device",
                "\(ours.device.major):\(ours.device.minor)",
                "\(theirs.device.major):\(theirs.device.minor)"
            )
        case .regular: compareContent(ours, theirs)
        case .directory, .fifo, .socket: break
        }
    }

    private mutating func compareContent(
        _ ours: FileTree.Node,
        _ theirs: FileTree.Node
    ) {
        guard ours.size == theirs.size else {
            return note("size", "\(ours.size)", "\(theirs.size)")
        }
        guard ours.chunks.count == theirs.chunks.count else {
            return note("number of chunks", "\(ours.chunks.count)", "\(theirs.chunks.count)")
        }
        for (index, (left, right)) in zip(ours.chunks, theirs.chunks).enumerated() {
            let (found, expected) = digests(left, right)
            guard found == nil || found != expected else { continue }
            return note(
                "content of chunk \(index)",
                found?.hex ?? "unknown",
                expected?.hex ?? "unknown"
            )
        }
    }

    private mutating func compareXattrs(
        _ ours: [ExtendedAttribute],
        _ theirs: [ExtendedAttribute]
    ) {
        guard ours != theirs else { return }
        let left = Dictionary(ours.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        let right = Dictionary(theirs.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        for name in Set(left.keys).union(right.keys).sorted(by: { $0.lexicographicallyPrecedes($1) }
        ) {
            note(
                "xattr \(escapedText(of: name))",
                left[name].map { escapedText(of: $0) } ?? "not set",
                right[name].map { escapedText(of: $0) } ?? "not set"
            )
        }
    }

    private mutating func note(_ what: String, _ ours: String, _ theirs: String) {
        guard ours != theirs else { return }
        differences.append("\(path(names)): \(what) is \(ours), in the source \(theirs)")
    }

    private func octal(_ permissions: UInt16) -> String { "0o\(String(permissions, radix: 8))" }

    private func time(_ attributes: FileAttributes) -> String {
        let nanoseconds = String(attributes.modificationNanoseconds)
        let padding = String(repeating: "0", count: 9 - nanoseconds.count)
        return "\(attributes.modificationSeconds).\(padding)\(nanoseconds)"
    }
}
