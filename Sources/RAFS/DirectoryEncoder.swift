// SPDX-License-Identifier: Apache-2.0

import Content

/// Packs names into dirent blocks.
enum DirectoryEncoder {
    /// One dirent to be.
    struct Entry {
        var name: FileName
        var nid: UInt64
        var type: FileType
    }

    /// The size of a directory's content, in bytes: full blocks, and what the last one holds.
    static func byteCount(of directory: FileTree.Node) -> Int {
        var names = Array(directory.children.keys)
        names.append(FileName("."))
        names.append(FileName(".."))
        names.sort()
        let blocks = pack(names.lazy.map(\.bytes.count))
        guard let last = blocks.last else { return 0 }
        let inLast = names[last].reduce(0) { $0 + DirentBlock.direntSize + $1.bytes.count }
        return (blocks.count - 1) * BootstrapFormat.blockSize + inLast
    }

    /// The content of a directory.
    ///
    /// - Parameter entries: its entries with "." and "..", ascending by name.
    /// - Returns: the blocks, the last one short.
    static func encode(_ entries: [Entry]) -> [UInt8] {
        var bytes: [UInt8] = []
        for block in pack(entries.lazy.map(\.name.bytes.count)) {
            bytes.padWithZeros(toMultipleOf: BootstrapFormat.blockSize)
            var nameOffset = block.count * DirentBlock.direntSize
            for entry in entries[block] {
                bytes.appendLittleEndian(entry.nid)
                bytes.appendLittleEndian(UInt16(nameOffset))
                bytes.append(entry.type.rawValue)
                bytes.append(0)
                nameOffset += entry.name.bytes.count
            }
            for entry in entries[block] { bytes.append(contentsOf: entry.name.bytes) }
        }
        return bytes
    }

    /// Cuts the sequence of name lengths into blocks, each taking as many as it has room for.
    private static func pack(_ lengths: some Sequence<Int>) -> [Range<Int>] {
        var blocks: [Range<Int>] = []
        var start = 0
        var used = 0
        var index = 0
        for length in lengths {
            let cost = DirentBlock.direntSize + length
            if used + cost > BootstrapFormat.blockSize {
                blocks.append(start..<index)
                start = index
                used = 0
            }
            used += cost
            index += 1
        }
        if index > start { blocks.append(start..<index) }
        return blocks
    }
}
