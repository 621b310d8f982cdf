// SPDX-License-Identifier: Apache-2.0

package import Content

extension Bootstrap {
    /// The whole tree, after checking that every file's chunks, and the chunk table, say what the
    /// blobs' own records say.
    ///
    /// - Parameters:
    ///   - limits: what the tree may cost.
    ///   - chunk: gives a blob's own record of a chunk; nil if the blob has no such chunk.
    /// - Returns: the tree, and the number of bytes of content of all files.
    /// - Throws: `ContentError` as `tree` does, or naming the inode or the chunk that contradicts:
    ///   the lowest, so that the same image gives the same message.
    package func verifiedTree(
        limits: BootstrapLimits = .standard,
        _ chunk: (ChunkAddress) throws(ContentError) -> Chunk?
    ) throws(ContentError) -> (tree: FileTree, contentSize: UInt64) {
        try forEachChunkRecord { (record) throws(ContentError) in
            guard let own = try chunk(record.address), record.agrees(with: own) else {
                throw .corrupt(
                    "chunk table: chunk \(record.address.index) of blob \(record.address.blob):"
                        + " the blob's own record says otherwise"
                )
            }
        }
        let (tree, nodes) = try treeWithNumbers(limits: limits)
        var size: UInt64 = 0
        for (nid, node) in nodes.sorted(by: { $0.key < $1.key })
        where tree[node].type == .regular {
            try verifyChunks(of: inode(nid), chunk)
            size += tree[node].size
        }
        return (tree, size)
    }

    private func verifyChunks(
        of file: Inode,
        _ chunk: (ChunkAddress) throws(ContentError) -> Chunk?
    ) throws(ContentError) {
        let chunkSize = UInt64(layout.chunkSize)
        for index in 0..<chunkCount(of: file) {
            let (address, offset) = try self.chunk(index, of: file)
            let size = min(chunkSize, file.size - index * chunkSize)
            guard let record = try chunk(address), record.uncompressedOffset == offset,
                UInt64(record.uncompressedSize) == size
            else {
                throw .corrupt(
                    "inode \(file.nid): chunk \(index) is said to be \(size) bytes at \(offset) of"
                        + " blob \(address.blob); the record of chunk \(address.index) differs"
                )
            }
            guard record.digest != .zero else {
                throw .corrupt(
                    "inode \(file.nid): nobody says the digest of chunk \(address.index) of blob"
                        + " \(address.blob)"
                )
            }
        }
    }
}
