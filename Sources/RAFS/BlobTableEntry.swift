// SPDX-License-Identifier: Apache-2.0

package import Content

/// One blob as the bootstrap's blob table names it: 256 bytes on disk.
package struct BlobTableEntry: Hashable, Sendable {
    /// 64 characters: the blob's digest in hexadecimal, or `placeholderID` in a bootstrap that is
    /// inlined in the very blob.
    package var id: String
    /// The number of chunks in the blob.
    package var chunkCount: UInt32
    /// The uncompressed size of a full chunk, in bytes.
    package var chunkSize: UInt32
    /// How chunks are compressed.
    package var compressor: Compressor
    /// How chunks are digested.
    package var digester: Digester
    /// What the blob holds besides its chunks.
    package var features: BlobFeatures
    /// Bytes of the whole blob file (as nydus counts them since 2.2); in a bootstrap that is inlined
    /// in the very blob, of what stands before it.
    package var compressedSize: UInt64
    /// Bytes of the uncompressed view; a multiple of 4096.
    package var uncompressedSize: UInt64
    /// Where and how the chunk-info table is stored: in the blob, or in that of its metadata.
    package var chunkInfo: ChunkInfoLocation
    /// The blob that holds all but the chunks, of one that is `separate`: its digest and size; nil
    /// where that is the blob itself.
    package var metadata: MetadataBlob?

    /// What stands for the id where the blob's digest is not known yet.
    package static let placeholderID = String(repeating: "x", count: 64)

    /// An entry with the values.
    package init(
        id: String,
        chunkCount: UInt32,
        chunkSize: UInt32,
        compressor: Compressor,
        digester: Digester,
        features: BlobFeatures,
        compressedSize: UInt64,
        uncompressedSize: UInt64,
        chunkInfo: ChunkInfoLocation,
        metadata: MetadataBlob? = nil
    ) {
        self.id = id
        self.chunkCount = chunkCount
        self.chunkSize = chunkSize
        self.compressor = compressor
        self.digester = digester
        self.features = features
        self.compressedSize = compressedSize
        self.uncompressedSize = uncompressedSize
        self.chunkInfo = chunkInfo
        self.metadata = metadata
    }

    /// How the blob's chunks are stored and named.
    package var coding: ChunkCoding { ChunkCoding(compressor: compressor, digester: digester) }

    /// The digest that the id spells; nil for a placeholder.
    package var digest: Digest? { Digest(hex: id) }
}

/// The blob that holds the metadata of another one, which is a layer of an ordinary image.
package struct MetadataBlob: Hashable, Sendable {
    /// Its digest.
    package var digest: Digest
    /// Its size, in bytes.
    package var size: UInt64

    /// A blob with the values.
    package init(digest: Digest, size: UInt64) {
        self.digest = digest
        self.size = size
    }
}

/// Where a blob's chunk-info table lies.
package struct ChunkInfoLocation: Hashable, Sendable {
    /// How the table is stored.
    package var compressor: Compressor
    /// The table's offset in the blob file.
    package var offset: UInt64
    /// Its size as stored, in bytes.
    package var compressedSize: UInt64
    /// Its size uncompressed, in bytes.
    package var uncompressedSize: UInt64

    /// A location with the values.
    package init(
        compressor: Compressor,
        offset: UInt64,
        compressedSize: UInt64,
        uncompressedSize: UInt64
    ) {
        self.compressor = compressor
        self.offset = offset
        self.compressedSize = compressedSize
        self.uncompressedSize = uncompressedSize
    }
}

extension BlobTableEntry {
    /// The largest compressed and uncompressed sizes that chunk infos can address.
    private static let maximumCompressedSize: UInt64 = 1 << 40
    private static let maximumUncompressedSize: UInt64 = 1 << 44

    /// Reads the entry at the offset.
    ///
    /// - Parameters:
    ///   - bytes: the bootstrap.
    ///   - offset: the entry's first byte.
    ///   - index: the blob's number, which the entry must repeat.
    /// - Throws: `ContentError` naming the blob and the field.
    init(_ bytes: RawSpan, at offset: Int, index: Int) throws(ContentError) {
        let name = "blob \(index) of the bootstrap"
        id = try Self.text(bytes, at: offset)
        guard try bytes.littleEndian(UInt32.self, at: offset + 64) == UInt32(index) else {
            throw .corrupt("\(name): its index is not its place in the table")
        }
        chunkSize = try bytes.littleEndian(UInt32.self, at: offset + 68)
        chunkCount = try bytes.littleEndian(UInt32.self, at: offset + 72)
        compressor = try Self.compressor(bytes, at: offset + 76, name)
        let digester = try bytes.littleEndian(UInt32.self, at: offset + 80)
        guard let digester = Digester(rawValue: digester) else {
            throw .corrupt("\(name): digest algorithm \(digester) is not known")
        }
        self.digester = digester
        features = BlobFeatures(rawValue: try bytes.littleEndian(UInt32.self, at: offset + 84))
        compressedSize = try bytes.littleEndian(UInt64.self, at: offset + 88)
        uncompressedSize = try bytes.littleEndian(UInt64.self, at: offset + 96)
        chunkInfo = ChunkInfoLocation(
            compressor: try Self.compressor(bytes, at: offset + 108, name),
            offset: try bytes.littleEndian(UInt64.self, at: offset + 112),
            compressedSize: try bytes.littleEndian(UInt64.self, at: offset + 120),
            uncompressedSize: try bytes.littleEndian(UInt64.self, at: offset + 128)
        )
        if features.contains(.separate) {
            metadata = MetadataBlob(
                digest: try Digest(bytes, at: offset + 168),
                size: try bytes.littleEndian(UInt64.self, at: offset + 200)
            )
        }
        try validate(name)
    }

    private static func text(_ bytes: RawSpan, at offset: Int) throws(ContentError) -> String {
        let id = try bytes.bytes(at: offset, count: 64).prefix { $0 != 0 }
        guard !id.isEmpty, id.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f }) else {
            throw .corrupt("blob id \"\(escapedText(of: id))\" is not a name")
        }
        return String(decoding: id, as: UTF8.self)
    }

    private static func compressor(
        _ bytes: RawSpan,
        at offset: Int,
        _ name: String
    ) throws(ContentError) -> Compressor {
        let value = try bytes.littleEndian(UInt32.self, at: offset)
        guard let compressor = Compressor(rawValue: value) else {
            throw .corrupt("\(name): compressor \(value) is not known")
        }
        return compressor
    }

    /// Checks that the numbers are in their ranges.
    ///
    /// - Parameter name: names the blob in the error.
    /// - Throws: `ContentError` naming the blob and the numbers.
    func validate(_ name: String) throws(ContentError) {
        guard chunkCount <= BootstrapFormat.maximumChunkIndex + 1 else {
            throw .corrupt("\(name): \(chunkCount) chunks, at most 2^24 can be named")
        }
        guard compressedSize <= Self.maximumCompressedSize,
            uncompressedSize <= Self.maximumUncompressedSize,
            uncompressedSize % UInt64(BootstrapFormat.blockSize) == 0
        else {
            throw .corrupt(
                "\(name): sizes \(compressedSize) and \(uncompressedSize) are out of range"
            )
        }
        guard chunkInfo.offset <= Self.maximumCompressedSize,
            chunkInfo.compressedSize <= UInt64(UInt32.max),
            chunkInfo.uncompressedSize <= UInt64(UInt32.max)
        else {
            throw .corrupt("\(name): its chunk-info table lies outside every possible blob")
        }
    }

    /// The 256 bytes of the entry of the blob with that number.
    func encoded(index: Int) -> [UInt8] {
        var bytes = paddedID
        bytes.reserveCapacity(BootstrapFormat.blobEntrySize)
        bytes.appendLittleEndian(UInt32(index))
        bytes.appendLittleEndian(chunkSize)
        bytes.appendLittleEndian(chunkCount)
        bytes.appendLittleEndian(compressor.rawValue)
        bytes.appendLittleEndian(digester.rawValue)
        bytes.appendLittleEndian(features.rawValue)
        bytes.appendLittleEndian(compressedSize)
        bytes.appendLittleEndian(uncompressedSize)
        // The size of the TOC: unknown, as nydus' converter leaves it.
        bytes.appendLittleEndian(UInt32(0))
        bytes.appendLittleEndian(chunkInfo.compressor.rawValue)
        bytes.appendLittleEndian(chunkInfo.offset)
        bytes.appendLittleEndian(chunkInfo.compressedSize)
        bytes.appendLittleEndian(chunkInfo.uncompressedSize)
        if let metadata {
            // The digest of the TOC, which is not needed: that of the whole blob is there.
            bytes.append(contentsOf: Digest.zero.bytes)
            bytes.append(contentsOf: metadata.digest.bytes)
            bytes.appendLittleEndian(metadata.size)
        }
        bytes.append(
            contentsOf: repeatElement(0, count: BootstrapFormat.blobEntrySize - bytes.count)
        )
        return bytes
    }

    /// The id in the 64 bytes that the device slot and the blob table give it.
    var paddedID: [UInt8] {
        let text = Array(id.utf8.prefix(64))
        return text + repeatElement(0, count: 64 - text.count)
    }
}
