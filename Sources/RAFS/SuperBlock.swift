// SPDX-License-Identifier: Apache-2.0
//
// RAFS: the image format - parse, look up, write, dump as text. Pure: bytes in, values out.
//
// A RAFS v6 bootstrap is an EROFS image whose file data lies on extra devices, one per blob; RAFS
// adds an extended superblock, a blob table, a prefetch table and a chunk table in places that
// EROFS does not look at. All integers are little-endian. EROFS: fs/erofs/erofs_fs.h of Linux.

/// The fixed places and numbers of a bootstrap.
package enum BootstrapFormat {
    /// The size of a block, in bytes: every device, table and directory is cut into these.
    package static let blockSize = 4096
    /// EROFS_SUPER_OFFSET, in bytes.
    static let superBlockOffset = 1024
    /// EROFS_SUPER_MAGIC_V1.
    static let magic: UInt32 = 0xe0f5_e1e2
    /// The compatible feature by which RAFS v6 marks its images.
    static let rafsFeature: UInt32 = 0x4000_0000
    /// EROFS_FEATURE_INCOMPAT_CHUNKED_FILE and _DEVICE_TABLE: exactly these.
    static let incompatibleFeatures: UInt32 = 0xc
    /// The first four bytes of a RAFS v5 bootstrap, `RAFS` read as an integer.
    static let version5Magic: UInt32 = 0x5241_4653
    /// Where the RAFS superblock follows the one of EROFS.
    static let extendedSuperBlockOffset = 1152
    /// The device table's place, in units of its 128-byte slots.
    static let deviceTableSlot: UInt16 = 11
    /// The device table's place, in bytes.
    static let deviceTableOffset = 1408
    static let deviceSlotSize = 128
    static let blobEntrySize = 256
    static let chunkRecordSize = 80
    /// Blobs are numbered by one byte, of which 0 and 255 are not used.
    package static let maximumBlobCount = 254
    /// A chunk's index has 24 bits.
    package static let maximumChunkIndex: UInt32 = 1 << 24 - 1
    /// The size of a chunk in bytes is at most this.
    package static let maximumChunkSize: UInt32 = 1 << 24
    /// Whether chunks may be of that size: a power of two, 4096...2^24.
    static func isChunkSize(_ size: UInt32) -> Bool {
        size >= 4096 && size <= maximumChunkSize && size & (size - 1) == 0
    }

    /// Blobs start at multiples of this in the flattened view of all devices, in blocks.
    static let deviceAlignment: UInt64 = 0x80000 / 4096
    /// nid units per byte: inodes lie at multiples of 32 bytes.
    static let inodeAlignment = 32
    /// The root inode lies one block into the metadata, so that its nid is never 0.
    static let rootNID: UInt64 = 128
}

/// What the RAFS superblock says of the whole image.
package struct BootstrapFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    package static let uncompressed = BootstrapFlags(rawValue: 0x1)
    package static let lz4 = BootstrapFlags(rawValue: 0x2)
    package static let blake3 = BootstrapFlags(rawValue: 0x4)
    package static let sha256 = BootstrapFlags(rawValue: 0x8)
    /// Owners are those of the inodes, not of the serving process.
    package static let explicitOwners = BootstrapFlags(rawValue: 0x10)
    package static let xattrs = BootstrapFlags(rawValue: 0x20)
    package static let gzip = BootstrapFlags(rawValue: 0x40)
    package static let zstd = BootstrapFlags(rawValue: 0x80)
    package static let inlinedChunkDigests = BootstrapFlags(rawValue: 0x100)
    package static let tarfs = BootstrapFlags(rawValue: 0x200)
    package static let notEncrypted = BootstrapFlags(rawValue: 0x100_0000)
    package static let encrypted = BootstrapFlags(rawValue: 0x200_0000)

    static let compressors: BootstrapFlags = [.uncompressed, .lz4, .gzip, .zstd]
    static let digesters: BootstrapFlags = [.blake3, .sha256]
    /// Every bit with a meaning, and the range reserved for bits that may be ignored.
    static let known = BootstrapFlags(rawValue: 0x3ff | 0x300_0000 | 0xfc00_0000)
}

/// What a blob holds besides its chunks, and how.
package struct BlobFeatures: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Chunks begin at multiples of 4096 of the uncompressed view.
    package static let aligned = BlobFeatures(rawValue: 0x1)
    /// The blob carries its own layer's bootstrap.
    package static let inlinedBootstrap = BlobFeatures(rawValue: 0x2)
    package static let chunkInfoV2 = BlobFeatures(rawValue: 0x4)
    package static let zran = BlobFeatures(rawValue: 0x8)
    package static let separate = BlobFeatures(rawValue: 0x10)
    package static let inlinedChunkDigests = BlobFeatures(rawValue: 0x20)
    package static let tarfs = BlobFeatures(rawValue: 0x40)
    package static let batch = BlobFeatures(rawValue: 0x80)
    package static let encrypted = BlobFeatures(rawValue: 0x100)
    /// The blob lies in a storage of its own, which no registry knows.
    package static let external = BlobFeatures(rawValue: 0x800)
    /// The blob is a compressed layer of which no part can be decoded alone.
    ///
    /// Chunks are where they are in its tar. A bit of ours, of those for which Nydus refuses an image.
    package static let whole = BlobFeatures(rawValue: 0x1000)
    package static let hasTarHeader = BlobFeatures(rawValue: 0x1000_0000)
    package static let hasTOC = BlobFeatures(rawValue: 0x2000_0000)
    package static let capTarTOC = BlobFeatures(rawValue: 0x4000_0000)

    /// What a data blob written here has.
    package static let written: BlobFeatures = [
        .aligned, .inlinedChunkDigests, .hasTarHeader, .hasTOC, .capTarTOC,
    ]
    /// Layouts that this version does not read.
    static let unsupported: BlobFeatures = [.tarfs, .encrypted, .external]
    /// Bits without a meaning, which nydus' loader refuses: it allows 0xfff of the low 16.
    static let unknown = BlobFeatures(rawValue: 0x8000_e000)
}
