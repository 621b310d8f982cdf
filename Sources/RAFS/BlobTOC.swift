// SPDX-License-Identifier: Apache-2.0

package import Content

/// The table of contents at the end of a data blob: which part lies where.
///
/// A blob is its parts one after another, each followed by a 512-byte tar header that describes
/// the part before it, without padding; the last part is this table.
package struct BlobTOC: Sendable {
    /// One part: 128 bytes on disk.
    package struct Entry: Hashable, Sendable {
        /// The part's name, at most 16 bytes.
        package var name: String
        /// How the part is stored.
        package var compressor: Compressor
        /// Digest of the uncompressed part; zero if unknown.
        package var digest: Digest
        /// Where the stored part begins in the blob.
        package var offset: UInt64
        /// Its size as stored, in bytes.
        package var compressedSize: UInt64
        /// Its size uncompressed, in bytes.
        package var uncompressedSize: UInt64
    }

    /// The parts, in stored order.
    package var entries: [Entry] = []

    /// The names of the parts.
    package enum Name {
        package static let chunks = "image.blob"
        package static let chunkInfo = "blob.meta"
        package static let chunkInfoHeader = "blob.meta.header"
        package static let chunkDigests = "blob.digest"
        package static let bootstrap = "image.boot"
        static let toc = "rafs.blob.toc"
    }

    /// As many bytes of a blob's end as hold every table this version reads or writes.
    package static let maximumTailSize = 4096

    private static let entrySize = 128

    /// An empty table.
    init() {}

    /// Reads the table of contents from a blob's end.
    ///
    /// - Parameters:
    ///   - tail: the last bytes of the blob: `maximumTailSize`, or all if the blob is shorter.
    ///   - blobSize: the size of the blob, in bytes.
    /// - Throws: `ContentError` if there is no table, or a part lies outside the blob.
    package init(tail: RawSpan, blobSize: UInt64) throws(ContentError) {
        let headerOffset = tail.byteCount - BlobTarHeader.size
        let header = try tail.slice(at: headerOffset, count: BlobTarHeader.size)
        let (name, size) = try BlobTarHeader.parse(header)
        guard name == Name.toc, size % UInt64(Self.entrySize) == 0, size <= UInt64(headerOffset)
        else {
            throw .unsupported("blob: it does not end in a table of contents, but in \"\(name)\"")
        }
        for offset in stride(from: headerOffset - Int(size), to: headerOffset, by: Self.entrySize) {
            let entry = try Self.entry(tail, at: offset)
            // Older builders left a wrong offset for the chunks, which always come first.
            let start = entry.name == Name.chunks ? 0 : entry.offset
            guard start <= blobSize, entry.compressedSize <= blobSize - start else {
                throw .corrupt("blob: part \(entry.name) lies outside of its \(blobSize) bytes")
            }
            entries.append(entry)
        }
    }

    /// Whether a blob's end is that of a table of contents.
    package static func isThere(tail: RawSpan) -> Bool {
        let offset = tail.byteCount - BlobTarHeader.size
        guard let header = try? tail.bytes(at: offset, count: BlobTarHeader.size),
            let name = try? BlobTarHeader.parse(header.rawSpan).name
        else { return false }
        return name == Name.toc
    }

    private static func entry(_ bytes: RawSpan, at offset: Int) throws(ContentError) -> Entry {
        let name = try bytes.bytes(at: offset + 8, count: 16).prefix { $0 != 0 }
        let flags = try bytes.littleEndian(UInt32.self, at: offset)
        let compressor: Compressor
        switch flags & 0xf {
        case 1: compressor = .none
        case 2: compressor = .zstd
        case 4: compressor = .lz4
        default: throw .corrupt("blob: part \(escapedText(of: name)) has flags \(flags)")
        }
        return Entry(
            name: escapedText(of: name),
            compressor: compressor,
            digest: try Digest(bytes, at: offset + 24),
            offset: try bytes.littleEndian(UInt64.self, at: offset + 56),
            compressedSize: try bytes.littleEndian(UInt64.self, at: offset + 64),
            uncompressedSize: try bytes.littleEndian(UInt64.self, at: offset + 72)
        )
    }

    /// The part of that name, if the blob has it.
    package func entry(named name: String) -> Entry? {
        entries.first { $0.name == name }
    }

    /// The table's bytes, without its tar header.
    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in entries {
            bytes.appendLittleEndian(UInt32(entry.compressor == .zstd ? 2 : 1))
            bytes.appendLittleEndian(UInt32(0))
            let name = Array(entry.name.utf8.prefix(16))
            bytes.append(contentsOf: name + repeatElement(0, count: 16 - name.count))
            bytes.append(contentsOf: entry.digest.bytes)
            bytes.appendLittleEndian(entry.offset)
            bytes.appendLittleEndian(entry.compressedSize)
            bytes.appendLittleEndian(entry.uncompressedSize)
            bytes.append(contentsOf: repeatElement(0, count: 48))
        }
        return bytes
    }
}

/// The 512-byte GNU tar header that follows each part of a blob.
enum BlobTarHeader {
    static let size = 512
    private static let checksumField = 148..<156

    /// The header for a part.
    static func encode(name: String, size: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.size)
        func put(_ text: String, at offset: Int) {
            for (index, byte) in text.utf8.enumerated() { bytes[offset + index] = byte }
        }
        put(name, at: 0)
        if size < 1 << 33 {
            put(octal(size, digits: 11), at: 124)
        } else {
            // GNU's base-256, big-endian, marked by its first bit: 11 octal digits end at 8 GiB.
            bytes[124] = 0x80
            for index in 0..<8 {
                bytes[135 - index] = UInt8(truncatingIfNeeded: size >> (8 * index))
            }
        }
        put(octal(0, digits: 11), at: 136)
        put("0", at: 156)
        put("ustar  ", at: 257)
        put(octal(checksum(of: bytes), digits: 7), at: checksumField.lowerBound)
        return bytes
    }

    /// Reads name and size of a header whose checksum is right.
    static func parse(_ header: RawSpan) throws(ContentError) -> (name: String, size: UInt64) {
        let bytes = try header.bytes(at: 0, count: size)
        guard number(bytes[checksumField]) == checksum(of: bytes),
            let size = number(bytes[124..<136])
        else {
            throw .unsupported("blob: it does not end in a tar header, so it has no known layout")
        }
        return (escapedText(of: bytes[0..<100].prefix { $0 != 0 }), size)
    }

    private static func octal(_ value: UInt64, digits: Int) -> String {
        let text = String(value, radix: 8)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    private static func number(_ field: ArraySlice<UInt8>) -> UInt64? {
        let digits = field.prefix { $0 != 0 && $0 != 0x20 }
        return UInt64(String(decoding: digits, as: UTF8.self), radix: 8)
    }

    /// The sum of all bytes, those of the checksum itself taken as blanks.
    private static func checksum(of bytes: [UInt8]) -> UInt64 {
        var sum: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            sum += checksumField.contains(index) ? 0x20 : UInt64(byte)
        }
        return sum
    }
}
