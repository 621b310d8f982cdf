// SPDX-License-Identifier: Apache-2.0

import Content

/// Writes the inodes of a placed tree, with all that belongs to them.
struct InodeEncoder {
    /// Everything before the chunk table; what is not written yet is zero.
    private var bytes: [UInt8]
    private let tree: FileTree
    private let placement: BootstrapPlacement
    private let blobCount: Int
    private let chunkSize: UInt32
    private let marksImplicitDirectories: Bool
    private let linkCounts: [UInt32]
    /// Every chunk that a file names, once.
    ///
    /// An image has one for each of its files or more, and a record is five times as large: records
    /// are made one by one as they are written.
    private var uses: [ChunkUse] = []
    /// Which chunks are in `uses`, by blob and index.
    private var used: [BitSet]

    /// A chunk, and where it stands in the first file that names it.
    private struct ChunkUse {
        var address: ChunkAddress
        var fileOffset: UInt64
    }

    init(
        tree: FileTree,
        placement: BootstrapPlacement,
        blobCount: Int,
        chunkSize: UInt32,
        marksImplicitDirectories: Bool
    ) {
        self.tree = tree
        self.placement = placement
        self.blobCount = blobCount
        self.chunkSize = chunkSize
        self.marksImplicitDirectories = marksImplicitDirectories
        bytes = Array(repeating: 0, count: placement.byteCount)
        linkCounts = tree.linkCounts()
        used = Array(repeating: BitSet(), count: blobCount)
    }

    /// Writes every inode.
    ///
    /// - Parameter chunk: gives the record of every chunk that the tree names.
    /// - Throws: `ContentError` naming the file that RAFS v6 cannot hold.
    mutating func encodeAll(chunk: (ChunkAddress) -> Chunk?) throws(ContentError) {
        for (number, id) in placement.order.enumerated() {
            do throws(ContentError) {
                try encode(id, number: UInt32(truncatingIfNeeded: number + 1), chunk)
            } catch {
                throw error.at(tree.path(of: id))
            }
        }
    }

    /// Appends the chunk table, once every inode is written: ascending by digest, then blob, each
    /// chunk once.
    ///
    /// - Parameter chunk: as for `encodeAll`.
    /// - Returns: everything up to the table's end, and where the table begins.
    consuming func finish(
        chunk: (ChunkAddress) -> Chunk?
    ) -> (bytes: [UInt8], chunkTableOffset: Int) {
        let table = bytes.count
        uses.sort { left, right in
            let (first, second) = (chunk(left.address)?.digest, chunk(right.address)?.digest)
            guard let first, let second, first != second else {
                return (left.address.blob, left.address.index)
                    < (right.address.blob, right.address.index)
            }
            return first < second
        }
        bytes.reserveCapacity(
            (table + uses.count * ChunkRecord.byteCount)
                .roundedUp(toMultipleOf: BootstrapFormat.blockSize)
        )
        for use in uses {
            // There is none that `storeChunks` would not have refused.
            guard let known = chunk(use.address) else { continue }
            ChunkRecord(address: use.address, chunk: known, fileOffset: use.fileOffset)
                .encode(into: &bytes)
        }
        return (bytes, table)
    }

    private mutating func encode(
        _ id: FileTree.NodeID,
        number: UInt32,
        _ chunk: (ChunkAddress) -> Chunk?
    ) throws(ContentError) {
        let node = tree[id]
        let place = placement.places[Int(id.index)]
        let xattrs = XattrEncoder.encode(node.xattrs)
        storeInode(id, number: number, xattrByteCount: xattrs.count)
        store(xattrs, at: place.inodeOffset + Inode.extendedSize)
        let tailOffset = place.inodeOffset + Inode.extendedSize + xattrs.count
        switch node.type {
        case .directory:
            storeContent(DirectoryEncoder.encode(entries(of: id)), place, tailOffset)
        case .symlink:
            guard (1..<4096).contains(node.target.count) else {
                throw .unsupported("a symbolic link to \(node.target.count) bytes")
            }
            storeContent(node.target, place, tailOffset)
        case .regular:
            try storeChunks(of: node, inodeOffset: place.inodeOffset, tailOffset, chunk)
        case .characterDevice, .blockDevice:
            guard node.device.encoded != nil else {
                throw .unsupported("device \(node.device.major):\(node.device.minor)")
            }
        case .fifo, .socket:
            break
        }
    }

    private func entries(of directory: FileTree.NodeID) -> [DirectoryEncoder.Entry] {
        let parent = placement.places[Int(directory.index)].parent
        var entries = tree[directory].children.map { name, node in
            DirectoryEncoder.Entry(
                name: name,
                nid: placement.nid(of: node),
                type: tree[node].type
            )
        }
        for (name, node) in [(".", directory), ("..", parent)] {
            entries.append(
                DirectoryEncoder.Entry(
                    name: FileName(name),
                    nid: placement.nid(of: node),
                    type: .directory
                )
            )
        }
        return entries.sorted { $0.name < $1.name }
    }

    private mutating func storeInode(
        _ id: FileTree.NodeID,
        number: UInt32,
        xattrByteCount: Int
    ) {
        let node = tree[id]
        let place = placement.places[Int(id.index)]
        let offset = place.inodeOffset
        let layout: Inode.DataLayout =
            node.type == .regular ? .chunks : place.isInline ? .inline : .plain
        let units = xattrByteCount == 0 ? 0 : 1 + (xattrByteCount - 12) / 4
        let isMarked = node.isImplicit && marksImplicitDirectories
        bytes.storeLittleEndian(layout.rawValue << 1 | 1, at: offset)
        bytes.storeLittleEndian(UInt16(units), at: offset + 2)
        bytes.storeLittleEndian(node.type.modeBits | node.attributes.permissions, at: offset + 4)
        bytes.storeLittleEndian(
            node.type == .regular ? node.size : UInt64(place.contentSize),
            at: offset + 8
        )
        bytes.storeLittleEndian(union(of: node, place), at: offset + 16)
        bytes.storeLittleEndian(isMarked ? 0 : number, at: offset + 20)
        bytes.storeLittleEndian(node.attributes.userID, at: offset + 24)
        bytes.storeLittleEndian(node.attributes.groupID, at: offset + 28)
        bytes.storeLittleEndian(node.attributes.modificationSeconds, at: offset + 32)
        bytes.storeLittleEndian(node.attributes.modificationNanoseconds, at: offset + 40)
        bytes.storeLittleEndian(linkCounts[Int(id.index)], at: offset + 44)
    }

    /// i_u: the chunk format is stored with the chunks.
    private func union(of node: FileTree.Node, _ place: BootstrapPlacement.Place) -> UInt32 {
        switch node.type {
        case .directory, .symlink: place.firstBlock
        case .characterDevice, .blockDevice: node.device.encoded ?? 0
        case .regular, .fifo, .socket: 0
        }
    }

    private mutating func storeContent(
        _ content: [UInt8],
        _ place: BootstrapPlacement.Place,
        _ tailOffset: Int
    ) {
        let blockSize = BootstrapFormat.blockSize
        let outside =
            place.isInline ? content.count / blockSize * blockSize : content.count
        store(content.prefix(outside), at: Int(place.firstBlock) * blockSize)
        store(content.dropFirst(outside), at: tailOffset)
    }

    private mutating func store(_ content: some Collection<UInt8>, at offset: Int) {
        bytes.replaceSubrange(offset..<offset + content.count, with: content)
    }

    private mutating func storeChunks(
        of node: FileTree.Node,
        inodeOffset: Int,
        _ tailOffset: Int,
        _ chunk: (ChunkAddress) -> Chunk?
    ) throws(ContentError) {
        let size = UInt64(chunkSize)
        guard UInt64(node.chunks.count) == node.size / size + (node.size % size == 0 ? 0 : 1)
        else {
            throw .corrupt("a file of \(node.size) bytes has \(node.chunks.count) chunks")
        }
        let offset = tailOffset.roundedUp(toMultipleOf: 8)
        var isContiguous = true
        var expected: (blob: UInt16, offset: UInt64)?
        for (index, address) in node.chunks.enumerated() {
            guard Int(address.blob) < blobCount, let record = chunk(address),
                address.index <= BootstrapFormat.maximumChunkIndex, record.isStorable
            else {
                throw .corrupt("chunk \(address.index) of blob \(address.blob) is not known")
            }
            let start = record.uncompressedOffset.bytes
            if let expected, expected != (address.blob, start) { isContiguous = false }
            expected = (address.blob, start + size)
            if used[Int(address.blob)].insert(Int(address.index)) {
                uses.append(ChunkUse(address: address, fileOffset: UInt64(index) * size))
            }
            storeChunkIndex(address, start, at: offset + index * 8)
        }
        let format = Self.chunkFormat(
            chunkSize: chunkSize,
            fileSize: node.size,
            isContiguous: isContiguous
        )
        bytes.storeLittleEndian(format, at: inodeOffset + 16)
    }

    private mutating func storeChunkIndex(
        _ address: ChunkAddress,
        _ start: UInt64,
        at offset: Int
    ) {
        bytes.storeLittleEndian(UInt16(truncatingIfNeeded: address.index), at: offset)
        bytes.storeLittleEndian(
            (address.blob + 1) | UInt16(address.index >> 16) << 8,
            at: offset + 2
        )
        bytes.storeLittleEndian(
            UInt32(start / UInt64(BootstrapFormat.blockSize)),
            at: offset + 4
        )
    }

    /// The chunk size that the kernel goes by, as a power of two above the block size, and bit 5.
    ///
    /// A file whose chunks lie one behind the other is one chunk to the kernel; RAFS readers go
    /// by the superblock's chunk size whatever stands here. Five bits end at chunks of 2^43 bytes;
    /// what is larger is told by its true chunks.
    static func chunkFormat(chunkSize: UInt32, fileSize: UInt64, isContiguous: Bool) -> UInt32 {
        var bits = chunkSize.trailingZeroBitCount
        if isContiguous, fileSize > UInt64(chunkSize), fileSize <= 1 << 43 {
            bits = UInt64.bitWidth - (fileSize - 1).leadingZeroBitCount
        }
        return UInt32(bits - 12) | 0x20
    }
}

/// A set of small numbers: one bit each, up to the largest.
private struct BitSet {
    private var words: [UInt64] = []

    /// Adds a number, 0 or more; false if it was there.
    mutating func insert(_ number: Int) -> Bool {
        let (word, bit) = (number / UInt64.bitWidth, UInt64(1) << UInt64(number % UInt64.bitWidth))
        if word >= words.count {
            words.append(contentsOf: repeatElement(0, count: word + 1 - words.count))
        }
        guard words[word] & bit == 0 else { return false }
        words[word] |= bit
        return true
    }
}
