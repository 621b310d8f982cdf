// SPDX-License-Identifier: Apache-2.0

package import Content

/// Writes a tree as a bootstrap.
///
/// Order of the file: superblocks, device table, blob table, prefetch table; inodes with their
/// xattrs, short directories, link targets and chunk indexes; blocks of long directories; chunk
/// table. Inodes stand depth first, a directory's files before its sub-directories. The same
/// input gives the same bytes.
package struct BootstrapWriter {
    /// The tree; chunk addresses name blobs by their position in `blobs`.
    package var tree: FileTree
    /// The blobs, by index.
    package var blobs: [BlobTableEntry]
    /// The uncompressed size of a full chunk, in bytes: a power of two, 4096...2^24.
    package var chunkSize: UInt32
    /// The image's flags; that for xattrs is added where needed.
    package var flags: BootstrapFlags
    /// What to fetch before it is asked for, in this order.
    package var prefetch: [FileTree.NodeID] = []
    /// Whether implicit directories are marked by build number 0: in a layer's own bootstrap, so
    /// that merging it later follows the same rules as merging the layer's tree.
    package var marksImplicitDirectories = false

    /// The flags of an image whose chunks are digested by SHA-256.
    ///
    /// - Parameters:
    ///   - compressor: how chunks are stored.
    ///   - blobs: the blobs; others than ours, from a chunk dictionary, may carry no digests.
    /// - Returns: the flags.
    package static func flags(
        _ compressor: Compressor,
        blobs: [BlobTableEntry]
    ) -> BootstrapFlags {
        let form: BootstrapFlags =
            switch compressor {
            case .none: .uncompressed
            case .lz4: .lz4
            case .gzip: .gzip
            case .zstd: .zstd
            }
        var flags: BootstrapFlags = [form, .sha256, .explicitOwners, .notEncrypted]
        if blobs.allSatisfy({ $0.features.contains(.inlinedChunkDigests) }) {
            flags.insert(.inlinedChunkDigests)
        }
        return flags
    }

    /// A writer of a tree.
    package init(tree: FileTree, blobs: [BlobTableEntry], chunkSize: UInt32, flags: BootstrapFlags)
    {
        self.tree = tree
        self.blobs = blobs
        self.chunkSize = chunkSize
        self.flags = flags
    }

    /// The bootstrap's bytes.
    ///
    /// - Parameter chunk: gives the record of every chunk that the tree names.
    /// - Returns: the bootstrap.
    /// - Throws: `ContentError` naming the file with what RAFS v6 cannot hold: too long a name or
    ///   target, xattrs without a number for their prefix, or too many; or more than 254 blobs,
    ///   or a blob or chunk out of range.
    package func write(chunk: (ChunkAddress) -> Chunk?) throws(ContentError) -> [UInt8] {
        try checkBlobs()
        let placement = try BootstrapPlacement(tree: tree, metadataOffset: metadataOffset)
        var encoder = InodeEncoder(
            tree: tree,
            placement: placement,
            blobCount: blobs.count,
            chunkSize: chunkSize,
            marksImplicitDirectories: marksImplicitDirectories
        )
        try encoder.encodeAll(chunk: chunk)
        var (bytes, chunkTableOffset) = encoder.finish(chunk: chunk)
        let chunkTableSize = bytes.count - chunkTableOffset
        bytes.padWithZeros(toMultipleOf: BootstrapFormat.blockSize)
        storeSuperBlock(in: &bytes, placement)
        storeExtendedSuperBlock(
            in: &bytes,
            placement,
            chunkTableOffset: chunkTableOffset,
            chunkTableSize
        )
        storeTables(in: &bytes, placement)
        return bytes
    }

    /// Checks what is counted with later on.
    private func checkBlobs() throws(ContentError) {
        guard BootstrapFormat.isChunkSize(chunkSize) else {
            throw .unsupported("chunk size \(chunkSize) is no power of two in 4096...2^24")
        }
        guard blobs.count <= BootstrapFormat.maximumBlobCount else {
            throw ContentError(
                .limitExceeded,
                "\(blobs.count) data blobs; a RAFS v6 image has at most"
                    + " \(BootstrapFormat.maximumBlobCount)"
            )
        }
        for (index, blob) in blobs.enumerated() { try blob.validate("blob \(index)") }
    }

    private var blobTableOffset: Int {
        (BootstrapFormat.deviceTableOffset + blobs.count * BootstrapFormat.deviceSlotSize)
            .roundedUp(toMultipleOf: BootstrapFormat.blockSize)
    }

    private var prefetchTableOffset: Int {
        blobTableOffset + blobs.count * BootstrapFormat.blobEntrySize
    }

    /// Without blobs the metadata is counted from 0, as nydus' readers expect.
    private var metadataOffset: Int {
        guard !blobs.isEmpty else { return 0 }
        return (prefetchTableOffset + prefetch.count * 4)
            .roundedUp(toMultipleOf: BootstrapFormat.blockSize)
    }

    private func storeSuperBlock(in bytes: inout [UInt8], _ placement: BootstrapPlacement) {
        let base = BootstrapFormat.superBlockOffset
        var blocks: UInt64 = 0
        for blob in blobs { blocks += blob.uncompressedSize / UInt64(BootstrapFormat.blockSize) }
        bytes.storeLittleEndian(BootstrapFormat.magic, at: base)
        bytes.storeLittleEndian(BootstrapFormat.rafsFeature, at: base + 8)
        bytes.storeLittleEndian(UInt8(12), at: base + 12)
        bytes.storeLittleEndian(UInt16(BootstrapFormat.rootNID), at: base + 14)
        bytes.storeLittleEndian(placement.nameCount, at: base + 16)
        bytes.storeLittleEndian(UInt32(truncatingIfNeeded: blocks), at: base + 36)
        bytes.storeLittleEndian(
            UInt32(metadataOffset / BootstrapFormat.blockSize),
            at: base + 40
        )
        bytes.storeLittleEndian(BootstrapFormat.incompatibleFeatures, at: base + 80)
        bytes.storeLittleEndian(UInt16(blobs.count), at: base + 86)
        bytes.storeLittleEndian(BootstrapFormat.deviceTableSlot, at: base + 88)
    }

    private func storeExtendedSuperBlock(
        in bytes: inout [UInt8],
        _ placement: BootstrapPlacement,
        chunkTableOffset: Int,
        _ chunkTableSize: Int
    ) {
        let base = BootstrapFormat.extendedSuperBlockOffset
        let all = placement.hasXattrs ? flags.union(.xattrs) : flags.subtracting(.xattrs)
        bytes.storeLittleEndian(all.rawValue, at: base)
        bytes.storeLittleEndian(UInt64(blobTableOffset), at: base + 8)
        bytes.storeLittleEndian(UInt32(blobs.count * 256), at: base + 16)
        bytes.storeLittleEndian(chunkSize, at: base + 20)
        bytes.storeLittleEndian(UInt64(chunkTableOffset), at: base + 24)
        bytes.storeLittleEndian(UInt64(chunkTableSize), at: base + 32)
        // Without blobs there is nothing to fetch, and no room for the table.
        guard !prefetch.isEmpty, !blobs.isEmpty else { return }
        bytes.storeLittleEndian(UInt64(prefetchTableOffset), at: base + 40)
        bytes.storeLittleEndian(UInt32(prefetch.count * 4), at: base + 48)
    }

    private func storeTables(in bytes: inout [UInt8], _ placement: BootstrapPlacement) {
        guard !blobs.isEmpty else { return }
        let blockSize = UInt64(BootstrapFormat.blockSize)
        var mapped = UInt64(bytes.count) / blockSize
        for (index, blob) in blobs.enumerated() {
            mapped = mapped.roundedUp(toMultipleOf: BootstrapFormat.deviceAlignment)
            let blocks = blob.uncompressedSize / blockSize
            let slot = BootstrapFormat.deviceTableOffset + index * BootstrapFormat.deviceSlotSize
            bytes.replaceSubrange(slot..<slot + 64, with: blob.paddedID)
            bytes.storeLittleEndian(UInt32(truncatingIfNeeded: blocks), at: slot + 64)
            bytes.storeLittleEndian(UInt32(truncatingIfNeeded: mapped), at: slot + 68)
            let entry = blobTableOffset + index * BootstrapFormat.blobEntrySize
            bytes.replaceSubrange(entry..<entry + 256, with: blob.encoded(index: index))
            mapped += blocks
        }
        for (index, node) in prefetch.enumerated() {
            bytes.storeLittleEndian(
                UInt32(truncatingIfNeeded: placement.nid(of: node)),
                at: prefetchTableOffset + index * 4
            )
        }
    }
}
