// SPDX-License-Identifier: Apache-2.0

package import Content
import Layers
import OCI

/// What readers of an image will want first, in order: their names, or ranges of them.
///
/// Names are resolved in a tree as in a chroot, symbolic links followed as far as that tree has
/// them; a directory stands for all files below it.
package struct PrefetchList: Sendable {
    /// One name.
    struct Entry: Sendable, Equatable {
        /// The path from the root, beginning with a slash.
        var path: [UInt8]
        /// Which bytes of the file are wanted; nil for all.
        var ranges: [Range<UInt64>]?
    }

    /// The names, in order.
    let entries: [Entry]

    /// The largest list that is read, in bytes.
    package static let byteLimit = 64 << 20

    /// A list in either of two forms.
    ///
    /// One absolute path a line; or the JSON of `nydusify optimize`, where a range is an offset and
    /// a size: `{"version":"v1","files":[{"path":"/f","ranges":[[0,4096]]}]}`. Text that begins
    /// with a brace is JSON: no absolute path does.
    ///
    /// - Parameters:
    ///   - bytes: the text.
    ///   - document: what it is, for the error.
    /// - Throws: `ContentError` naming the line or the field.
    package init(parsing bytes: [UInt8], document: String) throws(ContentError) {
        let first = bytes.first { !Self.isSpace($0) }
        entries =
            first == UInt8(ascii: "{")
            ? try Self.files(of: try JSONValue(parsing: bytes, document: document), document)
            : try Self.lines(of: bytes, document)
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || (9...13).contains(byte)
    }

    private static func lines(
        of bytes: [UInt8],
        _ document: String
    ) throws(ContentError) -> [Entry] {
        var entries: [Entry] = []
        let newline = UInt8(ascii: "\n")
        for (index, line) in bytes.split(separator: newline, omittingEmptySubsequences: false)
            .enumerated() where !line.allSatisfy(isSpace)
        {
            let path = try checked(Array(line), "\(document): line \(index + 1)")
            entries.append(Entry(path: path, ranges: nil))
        }
        return entries
    }

    private static func files(
        of value: JSONValue,
        _ document: String
    ) throws(ContentError) -> [Entry] {
        guard case .object(let fields) = value, case .array(let files)? = fields["files"] else {
            throw .corrupt("\(document): files: missing, or not an array")
        }
        guard fields["version"] == .string("v1") else {
            throw .unsupported("\(document): version: only \"v1\" is supported")
        }
        var entries: [Entry] = []
        for (index, file) in files.enumerated() {
            let place = "\(document): files[\(index)]"
            guard case .object(let fields) = file, case .string(let path)? = fields["path"] else {
                throw .corrupt("\(place).path: missing, or not a string")
            }
            entries.append(
                Entry(
                    path: try checked(Array(path.utf8), place),
                    ranges: try ranges(fields["ranges"] ?? .null, "\(place).ranges")
                )
            )
        }
        return entries
    }

    private static func checked(_ path: [UInt8], _ place: String) throws(ContentError) -> [UInt8] {
        guard path.first == UInt8(ascii: "/"), !path.contains(0) else {
            throw .corrupt("\(place): \"\(escapedText(of: path))\" is no absolute path")
        }
        return path
    }

    private static func ranges(
        _ value: JSONValue,
        _ place: String
    ) throws(ContentError) -> [Range<UInt64>]? {
        guard value != .null else { return nil }
        guard case .array(let values) = value else { throw .corrupt("\(place): not an array") }
        var ranges: [Range<UInt64>] = []
        for (index, value) in values.enumerated() {
            guard case .array(let pair) = value, pair.count == 2,
                case .integer(let offset) = pair[0], case .integer(let size) = pair[1],
                let offset = UInt64(exactly: offset), let size = UInt64(exactly: size)
            else { throw .corrupt("\(place)[\(index)]: not an offset and a size") }
            // Both are below 2^63.
            ranges.append(offset..<offset + size)
        }
        return ranges
    }
}

extension PrefetchList {
    /// What the list means in the tree of a whole image.
    struct Resolution {
        /// What readers are to fetch whole, each once, in the list's order: files with content,
        /// and directories.
        var nodes: [FileTree.NodeID] = []
        /// The names that the tree does not have, escaped.
        var missing: [String] = []
    }

    /// Looks the names up in the tree of a whole image.
    ///
    /// A file of which only a part is wanted is not among the nodes: a reader would fetch all of it.
    func resolve(in tree: FileTree) -> Resolution {
        var resolution = Resolution()
        var seen: Set<FileTree.NodeID> = []
        for entry in entries {
            guard let id = tree.node(at: entry.path) else {
                resolution.missing.append(escapedText(of: entry.path))
                continue
            }
            let node = tree[id]
            let isWhole = entry.ranges?.covers(node.size) ?? true
            guard node.type == .directory || (node.size > 0 && isWhole),
                node.type == .directory || node.type == .regular, seen.insert(id).inserted
            else { continue }
            resolution.nodes.append(id)
        }
        return resolution
    }

    /// The layer's own chunks that are wanted, each once, in the list's order.
    ///
    /// - Parameters:
    ///   - tree: the layer's tree; chunks of its own are those of blob 0.
    ///   - chunkSize: the size of a full chunk, in bytes.
    /// - Returns: their indexes.
    func chunks(of tree: FileTree, chunkSize: UInt64) -> [UInt32] {
        var result: [UInt32] = []
        var seen: Set<UInt32> = []
        func take(_ chunks: some Sequence<ChunkAddress>) {
            for chunk in chunks where chunk.blob == 0 && seen.insert(chunk.index).inserted {
                result.append(chunk.index)
            }
        }
        for entry in entries {
            guard let id = tree.node(at: entry.path) else { continue }
            guard tree[id].type == .directory else {
                let chunks = tree[id].chunks
                guard let ranges = entry.ranges else {
                    take(chunks)
                    continue
                }
                for range in ranges where !range.isEmpty {
                    let first = range.lowerBound / chunkSize
                    let end = (range.upperBound - 1) / chunkSize + 1
                    guard first < UInt64(chunks.count) else { continue }
                    take(chunks[Int(first)..<Int(min(end, UInt64(chunks.count)))])
                }
                continue
            }
            forEachFile(below: id, of: tree) { take($0.chunks) }
        }
        return result
    }

    /// Calls the body for every file below a directory: a directory's files ascending by name, then
    /// its sub-directories.
    private func forEachFile(
        below directory: FileTree.NodeID,
        of tree: FileTree,
        _ body: (FileTree.Node) -> Void
    ) {
        var pending = [directory]
        while let next = pending.popLast() {
            let children = tree.sortedChildren(of: next)
            for child in children where tree[child.node].type != .directory {
                body(tree[child.node])
            }
            for child in children.reversed() where tree[child.node].type == .directory {
                pending.append(child.node)
            }
        }
    }
}

extension [Range<UInt64>] {
    /// Whether the ranges together are all bytes of a file of that size.
    fileprivate func covers(_ size: UInt64) -> Bool {
        var end: UInt64 = 0
        for range in sorted(by: { $0.lowerBound < $1.lowerBound }) where range.lowerBound <= end {
            end = Swift.max(end, range.upperBound)
        }
        return end >= size
    }
}
