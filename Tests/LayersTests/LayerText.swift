// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import TestSupport

/// Layers for tests as text.
///
/// One line for each tar entry:
///
///     d path [mode]      directory         f path [content]   regular file
///     l path target      symbolic link     h path target      hard link
///     c path major minor character device  p path             fifo
///     x path name value  a file with an extended attribute
enum LayerText {
    /// The tar of the lines.
    static func tar(_ lines: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for line in lines.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let rest = Array(words.dropFirst(2)) + ["", ""]
            bytes += entry(words[0], words.count > 1 ? words[1] : "", rest)
        }
        return bytes + TarBlocks.end
    }

    private static func entry(_ kind: String, _ path: String, _ rest: [String]) -> [UInt8] {
        switch kind {
        case "d":
            return header(path, "5") { block in
                if !rest[0].isEmpty { TarBlocks.set(&block, 100, "000\(rest[0])\u{0}") }
            }
        case "l": return header(path, "2") { TarBlocks.set(&$0, 157, rest[0]) }
        case "h": return header(path, "1") { TarBlocks.set(&$0, 157, rest[0]) }
        case "p": return header(path, "6")
        case "c":
            return header(path, "3") { block in
                TarBlocks.set(&block, 329, "000000\(rest[0])\u{0}")
                TarBlocks.set(&block, 337, "000000\(rest[1])\u{0}")
            }
        case "x":
            return TarBlocks.pax([("SCHILY.xattr.\(rest[0])", rest[1])]) + header(path, "0")
        default:
            return pax(path) + TarBlocks.file(path.count > 99 ? "long" : path, Array(rest[0].utf8))
        }
    }

    private static func header(
        _ path: String,
        _ type: Character,
        change: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        pax(path) + TarBlocks.header(path.count > 99 ? "long" : path, type: type, change: change)
    }

    private static func pax(_ path: String) -> [UInt8] {
        path.count > 99 ? TarBlocks.pax([("path", path)]) : []
    }

    /// The layer's tree; its chunks are numbered in the order of the files.
    static func layer(
        _ lines: String,
        limits: LayerLimits = .standard,
        keepsXattr: @escaping (ExtendedAttribute) -> Bool = { _ in true }
    ) throws(ContentError) -> LayerTree {
        var sink = CountingSink()
        return try LayerReader(limits: limits, keepsXattr: keepsXattr)
            .read(TrickleStream(tar(lines), piece: 700), into: &sink)
    }

    /// The layers folded, lowest first; the chunks' blobs are the layers' numbers.
    static func merged(_ layers: [String]) throws(ContentError) -> FileTree {
        var applier = LayerApplier()
        for (number, lines) in layers.enumerated() {
            try applier.apply(try layer(lines).tree) {
                ChunkAddress(blob: UInt16(number), index: $0.index)
            }
        }
        return applier.tree
    }

    /// A tree as lines: path, type, what it leads to or holds, and the first path of hard links.
    static func text(_ tree: FileTree) -> [String] {
        var paths: [FileTree.NodeID: String] = [FileTree.root: ""]
        var lines: [String] = []
        tree.walkBreadthFirst { visit in
            guard visit.node != FileTree.root else { return }
            let node = tree[visit.node]
            let path = "\(paths[visit.parent] ?? "?")/\(visit.name)"
            var line = "\(path) \(node.type)"
            if node.type == .directory {
                line += " \(String(node.attributes.permissions, radix: 8))"
                if node.isImplicit { line += " implicit" }
            }
            if node.type == .symlink { line += " \(escapedText(of: node.target))" }
            for chunk in node.chunks { line += " \(chunk.blob):\(chunk.index)" }
            if let first = paths[visit.node] { line = "\(path) = \(first)" }
            paths[visit.node] = paths[visit.node] ?? path
            lines.append(line)
        }
        return lines
    }
}

/// Gives each file one chunk, numbered in their order.
struct CountingSink: LayerContentSink {
    /// The contents by number.
    private(set) var contents: [[UInt8]] = []

    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
        defer { unsafe buffer.deallocate() }
        var content: [UInt8] = []
        while true {
            let count = try unsafe read(buffer)
            guard count > 0 else { break }
            unsafe content.append(contentsOf: buffer[..<count])
        }
        guard UInt64(content.count) == size else { throw .truncated("size") }
        contents.append(content)
        return [ChunkAddress(blob: 0, index: UInt32(contents.count - 1))]
    }
}
