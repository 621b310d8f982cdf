// SPDX-License-Identifier: Apache-2.0

package import Content

/// One name in a directory, as its dirent block holds it.
package struct DirectoryEntry: ~Escapable {
    /// What the name names.
    package let nid: UInt64
    /// The type the dirent repeats; nil if it says unknown.
    package let type: FileType?
    /// The name's bytes.
    package let name: RawSpan
    /// The position of the next entry: pass it to go on there.
    package let nextPosition: UInt64

    @_lifetime(copy name)
    init(nid: UInt64, type: FileType?, name: RawSpan, nextPosition: UInt64) {
        self.nid = nid
        self.type = type
        self.name = name
        self.nextPosition = nextPosition
    }
}

/// A dirent block: n dirents of 12 bytes, then n names back to back.
struct DirentBlock: ~Escapable {
    static let direntSize = 12

    let bytes: RawSpan
    let count: Int

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan) throws(ContentError) {
        let firstName = Int(try bytes.littleEndian(UInt16.self, at: 8))
        guard firstName >= Self.direntSize, firstName % Self.direntSize == 0,
            firstName <= bytes.byteCount
        else {
            throw .corrupt("directory block: its first name lies at \(firstName)")
        }
        self.bytes = bytes
        count = firstName / Self.direntSize
    }

    func nid(_ index: Int) throws(ContentError) -> UInt64 {
        try bytes.littleEndian(UInt64.self, at: index * Self.direntSize)
    }

    func type(_ index: Int) throws(ContentError) -> FileType? {
        FileType(rawValue: try bytes.littleEndian(UInt8.self, at: index * Self.direntSize + 10))
    }

    /// The name runs to the next one's start; the last to the first NUL or the block's end.
    @_lifetime(copy self)
    func name(_ index: Int) throws(ContentError) -> RawSpan {
        let start = Int(try bytes.littleEndian(UInt16.self, at: index * Self.direntSize + 8))
        var end = bytes.byteCount
        if index + 1 < count {
            end = Int(try bytes.littleEndian(UInt16.self, at: (index + 1) * Self.direntSize + 8))
        } else {
            end = min(end, start + FileName.maximumByteCount + 1)
        }
        guard start >= count * Self.direntSize, start < end, end <= bytes.byteCount else {
            throw .corrupt("directory block: name \(index) runs from \(start) to \(end)")
        }
        let name = bytes.extracting(start..<end)
        guard index + 1 == count else { return name }
        return name.extracting(first: name.firstZero)
    }
}

extension RawSpan {
    /// The number of bytes before the first NUL, or all.
    fileprivate var firstZero: Int {
        for index in 0..<byteCount
        where unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self) == 0 {
            return index
        }
        return byteCount
    }

    /// Compares by unsigned byte value: negative, zero or positive as memcmp and then length.
    func compared(to other: RawSpan) -> Int {
        for index in 0..<min(byteCount, other.byteCount) {
            // Safe: the index is below both counts.
            let left = unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
            let right = unsafe other.unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
            if left != right { return Int(left) - Int(right) }
        }
        return byteCount - other.byteCount
    }
}

extension Bootstrap {
    /// Looks a name up in a directory: a binary search over its blocks, then in one of them.
    ///
    /// - Parameters:
    ///   - name: the name's bytes.
    ///   - directory: the directory.
    /// - Returns: the nid the name names; nil if the directory has no such name.
    /// - Throws: `ContentError` if the inode is no directory or a block is malformed.
    package func lookup(_ name: RawSpan, in directory: Inode) throws(ContentError) -> UInt64? {
        var low: UInt64 = 0
        var high = try blockCount(of: directory)
        // Invariant: blocks before `low` begin at or below the name, blocks from `high` above it.
        while low < high {
            let middle = low + (high - low) / 2
            let block = try DirentBlock(block(middle, of: directory))
            if try block.name(0).compared(to: name) <= 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low > 0 else { return nil }
        return try find(name, in: DirentBlock(block(low - 1, of: directory)))
    }

    private func find(_ name: RawSpan, in block: DirentBlock) throws(ContentError) -> UInt64? {
        var low = 0
        var high = block.count
        while low < high {
            let middle = (low + high) / 2
            let order = try block.name(middle).compared(to: name)
            if order == 0 { return try block.nid(middle) }
            if order < 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return nil
    }

    /// Calls the body for every entry of a directory, "." and ".." included, in stored order.
    ///
    /// - Parameters:
    ///   - directory: the directory.
    ///   - position: 0 for the first entry, else the `nextPosition` of an earlier one.
    ///   - body: gets each entry; returns false to stop.
    /// - Throws: `ContentError` if the inode is no directory or a block is malformed; what the
    ///   body throws.
    package func forEachEntry(
        of directory: Inode,
        from position: UInt64 = 0,
        _ body: (borrowing DirectoryEntry) throws(ContentError) -> Bool
    ) throws(ContentError) {
        let blockSize = UInt64(BootstrapFormat.blockSize)
        let blocks = try blockCount(of: directory)
        var number = position / blockSize
        var index = Int(position % blockSize) / DirentBlock.direntSize
        while number < blocks {
            let block = try DirentBlock(block(number, of: directory))
            while index < block.count {
                let next =
                    index + 1 < block.count
                    ? number * blockSize + UInt64((index + 1) * DirentBlock.direntSize)
                    : (number + 1) * blockSize
                let entry = DirectoryEntry(
                    nid: try block.nid(index),
                    type: try block.type(index),
                    name: try block.name(index),
                    nextPosition: next
                )
                guard try body(entry) else { return }
                index += 1
            }
            index = 0
            number += 1
        }
    }

    private func blockCount(of directory: Inode) throws(ContentError) -> UInt64 {
        guard directory.type == .directory else {
            throw .corrupt("inode \(directory.nid): a \(directory.type), not a directory")
        }
        // A directory cannot hold more blocks than the bootstrap, so no walk over it runs away.
        guard directory.size <= UInt64(layout.byteCount) else {
            throw .corrupt("inode \(directory.nid): a directory of \(directory.size) bytes")
        }
        let blockSize = UInt64(BootstrapFormat.blockSize)
        return directory.size / blockSize + (directory.size % blockSize == 0 ? 0 : 1)
    }
}
