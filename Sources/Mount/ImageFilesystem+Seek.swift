// SPDX-License-Identifier: Apache-2.0

import ChunkCache
import Content
import FUSE
import RAFS

/// Holes: runs of chunks that are known to be all zeros.
extension ImageFilesystem {
    /// So many chunks are looked at for one request: the worker is missing to all mounts meanwhile.
    private static let seekLimit: UInt64 = 1 << 20

    func seek(
        _ node: UInt64,
        from offset: UInt64,
        seeksHole: Bool
    ) throws(FuseFailure) -> UInt64 {
        let found: UInt64?
        do throws(ContentError) {
            found = try image.tree.read { tree throws(ContentError) in
                let inode = try tree.inode(node)
                guard offset < inode.size else { return nil }
                guard inode.type == .regular else { return seeksHole ? inode.size : offset }
                let place = try firstPlace(of: inode, from: offset, isHole: seeksHole, tree)
                // The end of every file is a hole.
                return place ?? (seeksHole ? inode.size : nil)
            }
        } catch {
            throw failure("lseek", node, error)
        }
        guard let found else { throw .pastEnd }
        return found
    }

    /// Where a file is a hole, or is none, from an offset on; nil if nowhere.
    ///
    /// What is not looked at any more counts as data, as it may: data may be zeros.
    private func firstPlace(
        of inode: Inode,
        from offset: UInt64,
        isHole wanted: Bool,
        _ tree: borrowing Bootstrap
    ) throws(ContentError) -> UInt64? {
        let chunkSize = UInt64(tree.layout.chunkSize)
        let first = offset / chunkSize
        // A converter stores zeros once: a long hole is one chunk again and again.
        var last: (address: ChunkAddress, byteCount: UInt64, isHole: Bool)?
        for index in first..<tree.chunkCount(of: inode) {
            let start = index * chunkSize
            guard index - first < Self.seekLimit else { return wanted ? nil : start }
            let byteCount = min(chunkSize, inode.size - start)
            let (address, place) = try tree.chunk(index, of: inode)
            let isHole: Bool
            if let last, last.address == address, last.byteCount == byteCount {
                isHole = last.isHole
            } else {
                isHole = image.blobs[Int(address.blob)].isZero(
                    chunk: Int(address.index),
                    at: place,
                    byteCount: UInt32(clamping: byteCount)
                )
                last = (address, byteCount, isHole)
            }
            if isHole == wanted { return max(offset, start) }
        }
        return nil
    }
}
