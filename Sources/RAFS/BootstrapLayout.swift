// SPDX-License-Identifier: Apache-2.0

package import Content

/// A bootstrap's superblocks and tables, checked once; what a `Bootstrap` view needs to look up.
package struct BootstrapLayout: Sendable {
    /// The size of the bootstrap, in bytes.
    package let byteCount: Int
    /// The root directory's nid.
    package let rootNID: UInt64
    /// The number of names in the tree, the root's included, as the superblock says.
    package let inodeCount: UInt64
    /// The uncompressed size of a full chunk, in bytes: a power of two, 4096...2^24.
    package let chunkSize: UInt32
    /// The image's flags.
    package let flags: BootstrapFlags
    /// The blobs, by index.
    package let blobs: [BlobTableEntry]
    /// Where inode 0 would lie, in bytes.
    let metadataOffset: Int
    let chunkTable: Range<Int>
    let prefetchTable: Range<Int>

    /// Whether any file has extended attributes.
    package var hasXattrs: Bool { flags.contains(.xattrs) }

    /// Checks superblocks and tables of a bootstrap.
    ///
    /// - Parameter bytes: the whole bootstrap.
    /// - Throws: `ContentError` naming the field that is wrong: `unsupported` for RAFS v5 and
    ///   tarfs, else `corrupt` or `truncated`.
    package init(_ bytes: RawSpan) throws(ContentError) {
        try Self.checkSuperBlock(bytes)
        let base = BootstrapFormat.superBlockOffset
        byteCount = bytes.byteCount
        rootNID = UInt64(try bytes.littleEndian(UInt16.self, at: base + 14))
        inodeCount = try bytes.littleEndian(UInt64.self, at: base + 16)
        let metadataBlock = try bytes.littleEndian(UInt32.self, at: base + 40)
        metadataOffset = Int(metadataBlock) * BootstrapFormat.blockSize
        guard metadataOffset <= byteCount else {
            throw .corrupt("bootstrap: its metadata begins at block \(metadataBlock), past its end")
        }
        let extended = BootstrapFormat.extendedSuperBlockOffset
        flags = BootstrapFlags(rawValue: try bytes.littleEndian(UInt64.self, at: extended))
        chunkSize = try bytes.littleEndian(UInt32.self, at: extended + 20)
        try Self.check(flags: flags, chunkSize: chunkSize)
        chunkTable = try Self.range(bytes, at: extended + 24, unit: 80, "chunk table")
        prefetchTable = try Self.prefetchTable(bytes)
        blobs = try Self.blobs(bytes, chunkSize: chunkSize)
    }

    private static func checkSuperBlock(_ bytes: RawSpan) throws(ContentError) {
        // Before its size: that of a v5 bootstrap is no multiple of the block size.
        if bytes.byteCount >= 4,
            try bytes.littleEndian(UInt32.self, at: 0) == BootstrapFormat.version5Magic
        {
            throw .unsupported("bootstrap: RAFS v5; convert the image again, to RAFS v6")
        }
        guard bytes.byteCount >= BootstrapFormat.blockSize,
            bytes.byteCount % BootstrapFormat.blockSize == 0
        else {
            throw .corrupt(
                "bootstrap: \(bytes.byteCount) bytes, must be a positive multiple of 4096"
            )
        }
        let base = BootstrapFormat.superBlockOffset
        let magic = try bytes.littleEndian(UInt32.self, at: base)
        guard magic == BootstrapFormat.magic else {
            throw .corrupt(
                "bootstrap: no EROFS superblock: magic 0x\(String(magic, radix: 16)),"
                    + " expected 0x\(String(BootstrapFormat.magic, radix: 16))"
            )
        }
        let compatible = try bytes.littleEndian(UInt32.self, at: base + 8)
        guard compatible & BootstrapFormat.rafsFeature != 0 else {
            throw .unsupported("bootstrap: an EROFS image, but not a RAFS v6 bootstrap")
        }
        let blockBits = try bytes.littleEndian(UInt8.self, at: base + 12)
        guard blockBits != 9 else { throw .unsupported("bootstrap: tarfs images are not read") }
        try expect(bytes, UInt8.self, at: base + 12, 12, "block size bits")
        try expect(bytes, UInt32.self, at: base + 4, 0, "checksum")
        try expect(bytes, UInt8.self, at: base + 13, 0, "superblock extension slots")
        try expect(bytes, UInt32.self, at: base + 44, 0, "shared xattr block")
        try expect(
            bytes,
            UInt32.self,
            at: base + 80,
            BootstrapFormat.incompatibleFeatures,
            "incompatible features"
        )
        try expect(bytes, UInt16.self, at: base + 84, 0, "compression algorithms")
        try expect(
            bytes,
            UInt16.self,
            at: base + 88,
            BootstrapFormat.deviceTableSlot,
            "device table slot"
        )
    }

    private static func expect<T: FixedWidthInteger & BitwiseCopyable>(
        _ bytes: RawSpan,
        _ type: T.Type,
        at offset: Int,
        _ expected: T,
        _ field: String
    ) throws(ContentError) {
        let found = try bytes.littleEndian(type, at: offset)
        guard found == expected else {
            throw .corrupt("bootstrap: \(field) at \(offset) is \(found), expected \(expected)")
        }
    }

    private static func check(flags: BootstrapFlags, chunkSize: UInt32) throws(ContentError) {
        guard BootstrapFormat.isChunkSize(chunkSize) else {
            throw .corrupt("bootstrap: chunk size \(chunkSize) is no power of two in 4096...2^24")
        }
        guard BootstrapFlags.known.isSuperset(of: flags),
            flags.intersection(.compressors).rawValue.nonzeroBitCount == 1,
            flags.intersection(.digesters).rawValue.nonzeroBitCount == 1
        else {
            throw .corrupt("bootstrap: flags 0x\(String(flags.rawValue, radix: 16)) contradict")
        }
        if flags.contains(.tarfs) { throw .unsupported("bootstrap: tarfs images are not read") }
        if flags.contains(.encrypted) {
            throw .unsupported("bootstrap: encrypted images are not read")
        }
    }

    /// A table named by a 64-bit offset and a 64-bit size.
    private static func range(
        _ bytes: RawSpan,
        at field: Int,
        unit: UInt64,
        _ name: String
    ) throws(ContentError) -> Range<Int> {
        let offset = try bytes.littleEndian(UInt64.self, at: field)
        let size = try bytes.littleEndian(UInt64.self, at: field + 8)
        guard offset <= UInt64(bytes.byteCount), size <= UInt64(bytes.byteCount) - offset,
            size % unit == 0
        else {
            throw .corrupt("bootstrap: \(name) of \(size) bytes at \(offset) lies outside of it")
        }
        return Int(offset)..<Int(offset + size)
    }

    private static func prefetchTable(_ bytes: RawSpan) throws(ContentError) -> Range<Int> {
        let extended = BootstrapFormat.extendedSuperBlockOffset
        let offset = try bytes.littleEndian(UInt64.self, at: extended + 40)
        let size = try bytes.littleEndian(UInt32.self, at: extended + 48)
        // Old images have a size without an offset; it means none.
        guard offset != 0 else { return 0..<0 }
        guard offset <= UInt64(bytes.byteCount), UInt64(size) <= UInt64(bytes.byteCount) - offset,
            size % 4 == 0
        else {
            throw .corrupt("bootstrap: prefetch table of \(size) bytes at \(offset) lies outside")
        }
        return Int(offset)..<Int(offset) + Int(size)
    }

    private static func blobs(
        _ bytes: RawSpan,
        chunkSize: UInt32
    ) throws(ContentError) -> [BlobTableEntry] {
        let extended = BootstrapFormat.extendedSuperBlockOffset
        let offset = try bytes.littleEndian(UInt64.self, at: extended + 8)
        let size = try bytes.littleEndian(UInt32.self, at: extended + 16)
        let devices = try bytes.littleEndian(
            UInt16.self,
            at: BootstrapFormat.superBlockOffset + 86
        )
        let count = Int(size) / BootstrapFormat.blobEntrySize
        guard Int(size) % BootstrapFormat.blobEntrySize == 0, count == Int(devices),
            count <= BootstrapFormat.maximumBlobCount,
            offset <= UInt64(bytes.byteCount), Int(size) <= bytes.byteCount - Int(offset)
        else {
            throw .corrupt(
                "bootstrap: blob table of \(size) bytes at \(offset) for \(devices) devices"
            )
        }
        var blobs: [BlobTableEntry] = []
        var ids: Set<String> = []
        for index in 0..<count {
            let entry = try BlobTableEntry(bytes, at: Int(offset) + index * 256, index: index)
            let slot = BootstrapFormat.deviceTableOffset + index * BootstrapFormat.deviceSlotSize
            guard entry.chunkSize == chunkSize,
                try bytes.bytes(at: slot, count: 64) == entry.paddedID,
                try UInt64(bytes.littleEndian(UInt32.self, at: slot + 64)) * 4096
                    == entry.uncompressedSize
            else {
                throw .corrupt("bootstrap: blob \(index) and its device slot contradict")
            }
            guard ids.insert(entry.id).inserted else {
                throw .corrupt("bootstrap: blob id \(entry.id) stands there twice")
            }
            blobs.append(entry)
        }
        return blobs
    }
}

extension BlobTableEntry {
    /// Whether what is said of a layer that is fetched whole can be.
    fileprivate var isPlausibleWhole: Bool {
        metadata != nil && compressor == .none && features.isDisjoint(with: [.zran, .batch])
    }
}

extension BootstrapLayout {
    /// Checks that this version can read the blobs' chunks.
    ///
    /// - Throws: `ContentError` (`unsupported`) naming the blob and what it uses.
    package func checkReadable() throws(ContentError) {
        for blob in blobs {
            let name = "blob \(blob.id)"
            guard blob.features.isDisjoint(with: .unsupported.union(.unknown)) else {
                throw .unsupported(
                    "\(name): features 0x\(String(blob.features.rawValue, radix: 16)): tarfs, encrypted"
                        + " and external blobs are not read by this version"
                )
            }
            guard !blob.features.contains(.whole) || blob.isPlausibleWhole else {
                throw .corrupt(
                    "\(name): features 0x\(String(blob.features.rawValue, radix: 16)): a layer that is"
                        + " fetched whole has its metadata elsewhere, and no spans or batches"
                )
            }
            guard blob.features.contains(.aligned) else {
                throw .unsupported("\(name): its chunks are not aligned to 4096 bytes")
            }
        }
    }
}
