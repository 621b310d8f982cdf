// SPDX-License-Identifier: Apache-2.0

package import Content

/// One inode of a bootstrap, read into a value; nothing of it lives on the heap.
package struct Inode: Sendable {
    /// How the content is stored (EROFS_INODE_FLAT_PLAIN, _FLAT_INLINE, _CHUNK_BASED).
    enum DataLayout: UInt16, Sendable {
        case plain = 0
        case inline = 2
        case chunks = 4
    }

    /// The inode's number in the image and, but for the root, in the mount.
    package let nid: UInt64
    /// The type of file.
    package let type: FileType
    /// Owner, permissions, time.
    package let attributes: FileAttributes
    /// Bytes of content; of a directory, the bytes of its dirent blocks.
    package let size: UInt64
    /// The number of names; of a directory 2 plus its sub-directories.
    package let linkCount: UInt32
    /// The number given at build time; 0 marks an implicit directory in a layer's own bootstrap.
    package let buildNumber: UInt32
    let dataLayout: DataLayout
    /// i_u: start block, device number or chunk format.
    let union: UInt32
    /// Where the inode lies in the bootstrap, in bytes.
    let offset: Int
    /// Where its xattrs begin, and how many bytes they have.
    let xattrOffset: Int
    let xattrByteCount: Int

    /// The size of the extended form on disk, which is the one written.
    static let extendedSize = 64
    static let compactSize = 32

    /// The device that a device node names.
    package var device: DeviceNumber { DeviceNumber(encoded: union) }

    /// Whether the inode has extended attributes of its own.
    package var hasXattrs: Bool { xattrByteCount > 0 }

    /// Where inline data begins.
    var tailOffset: Int { xattrOffset + xattrByteCount }

    /// Where the chunk indexes of a regular file begin.
    var chunkIndexOffset: Int { tailOffset.roundedUp(toMultipleOf: 8) }
}

extension Inode {
    /// Reads the inode at the offset, in its compact or extended form.
    ///
    /// - Parameters:
    ///   - bytes: the bootstrap.
    ///   - offset: where the inode lies.
    ///   - nid: its number.
    /// - Throws: `ContentError` naming the nid and the field.
    init(_ bytes: RawSpan, at offset: Int, nid: UInt64) throws(ContentError) {
        let format = try bytes.littleEndian(UInt16.self, at: offset)
        let isExtended = format & 1 == 1
        guard format & ~0xf == 0, let layout = DataLayout(rawValue: format >> 1) else {
            throw .corrupt("inode \(nid): format 0x\(String(format, radix: 16)) is not known")
        }
        let mode = try bytes.littleEndian(UInt16.self, at: offset + 4)
        guard let type = FileType(mode: mode) else {
            throw .corrupt("inode \(nid): mode 0o\(String(mode, radix: 8)) names no type")
        }
        guard (type == .regular) == (layout == .chunks) else {
            throw .corrupt("inode \(nid): a \(type) with data layout \(layout)")
        }
        self.nid = nid
        self.type = type
        self.offset = offset
        dataLayout = layout
        union = try bytes.littleEndian(UInt32.self, at: offset + 16)
        buildNumber = try bytes.littleEndian(UInt32.self, at: offset + 20)
        if isExtended {
            size = try bytes.littleEndian(UInt64.self, at: offset + 8)
            linkCount = try bytes.littleEndian(UInt32.self, at: offset + 44)
            attributes = try Self.extendedAttributes(bytes, at: offset, mode: mode)
        } else {
            size = UInt64(try bytes.littleEndian(UInt32.self, at: offset + 8))
            linkCount = UInt32(try bytes.littleEndian(UInt16.self, at: offset + 6))
            attributes = FileAttributes(
                permissions: mode & 0o7777,
                userID: UInt32(try bytes.littleEndian(UInt16.self, at: offset + 24)),
                groupID: UInt32(try bytes.littleEndian(UInt16.self, at: offset + 26))
            )
        }
        let xattrUnits = try bytes.littleEndian(UInt16.self, at: offset + 2)
        xattrOffset = offset + (isExtended ? Self.extendedSize : Self.compactSize)
        xattrByteCount = xattrUnits == 0 ? 0 : 12 + 4 * (Int(xattrUnits) - 1)
        // 2^56 bytes is beyond every chunk index; below it no sum of offset and size overflows.
        guard size < 1 << 56 else { throw .corrupt("inode \(nid): size \(size) is impossible") }
        _ = try bytes.slice(at: xattrOffset, count: xattrByteCount)
    }

    private static func extendedAttributes(
        _ bytes: RawSpan,
        at offset: Int,
        mode: UInt16
    ) throws(ContentError) -> FileAttributes {
        FileAttributes(
            permissions: mode & 0o7777,
            userID: try bytes.littleEndian(UInt32.self, at: offset + 24),
            groupID: try bytes.littleEndian(UInt32.self, at: offset + 28),
            modificationSeconds: Int64(
                bitPattern: try bytes.littleEndian(UInt64.self, at: offset + 32)
            ),
            modificationNanoseconds: min(
                try bytes.littleEndian(UInt32.self, at: offset + 40),
                999_999_999
            )
        )
    }
}
