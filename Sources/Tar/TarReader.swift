// SPDX-License-Identifier: Apache-2.0

package import Content

/// Reads an archive front to back: ustar, pax, GNU and old tar.
///
/// Each `next` gives an entry; its content, if it has any, is read before the following `next`,
/// which skips what is left of it. `finish` reads what follows the archive, so that digests over
/// the stream cover all of it.
package struct TarReader<Source: ByteStream & ~Copyable>: ~Copyable {
    /// The most bytes that a pax header or a GNU long name may have: 1 MiB.
    ///
    /// The kernel limits paths to 4096 bytes and an extended attribute to 64 KiB.
    package static var extensionLimit: UInt64 { 1 << 20 }

    private var input: BufferedStream<Source>
    private var hasEnded = false
    /// Bytes of the current entry's content that are not read yet.
    private var remaining: UInt64 = 0
    /// Bytes that pad the current entry's content to whole blocks.
    private var padding: UInt64 = 0
    /// Where the current entry's bytes belong, if it has holes.
    private var sparse: SparseCursor?

    /// The entries of the archive.
    ///
    /// - Parameter source: the uncompressed archive, from its start; read on demand.
    package init(_ source: consuming Source) {
        input = BufferedStream(source)
    }

    /// How many bytes of the archive were read so far, in its uncompressed form.
    package var offset: UncompressedOffset { UncompressedOffset(input.offset) }

    /// Reads the next entry's header.
    ///
    /// - Returns: the entry; nil at the end of the archive: two blocks of zeros, or the end of the
    ///   source where a header could begin.
    /// - Throws: `ContentError` that names the offset, and the entry where it is known.
    package mutating func next() throws(ContentError) -> TarEntry? {
        guard !hasEnded else { return nil }
        try skipContent()
        var extensions = Extensions()
        while let header = try readHeader() {
            let place = offset.bytes - UInt64(TarHeader.blockSize)
            do throws(ContentError) {
                if let entry = try take(header, &extensions) { return entry }
            } catch {
                throw error.at("tar entry \(escapedText(of: header.path)) at offset \(place)")
            }
        }
        guard extensions.isEmpty else {
            throw .corrupt("tar archive ends at offset \(offset) after a header for the next entry")
        }
        hasEnded = true
        return nil
    }

    /// Reads the current entry's content.
    ///
    /// - Parameter buffer: takes the bytes from its start; not empty.
    /// - Returns: how many bytes were read, at least 1; 0 at the end of the entry.
    /// - Throws: `ContentError` if the archive ends before the entry does.
    package mutating func readContent(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard let run = sparse?.run else { return try unsafe readStored(into: buffer) }
        let count: Int
        switch run {
        case .end:
            return 0
        case .stored(let size):
            let wanted = Int(min(UInt64(buffer.count), size))
            count = try unsafe readStored(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            )
        case .zeros(let size):
            count = Int(min(UInt64(buffer.count), size))
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
        sparse?.advance(UInt64(count))
        return count
    }

    /// Reads the source to its end; what follows the archive there is nobody's.
    ///
    /// - Throws: what reading throws, a digest mismatch at the end of the source included.
    package mutating func finish() throws(ContentError) {
        hasEnded = true
        while true {
            let count = try input.fill(atLeast: 1)
            guard count > 0 else { return }
            input.consume(count)
        }
    }
}

extension TarReader where Source: ~Copyable {
    /// What headers of their own say about the entry after them.
    private struct Extensions {
        var records: PaxRecords?
        var longName: [UInt8]?
        var longLink: [UInt8]?

        var isEmpty: Bool { records == nil && longName == nil && longLink == nil }
    }

    /// Reads what the archive has of the current entry, holes left out.
    private mutating func readStored(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard remaining > 0 else { return 0 }
        let wanted = Int(min(UInt64(buffer.count), remaining))
        let count = try unsafe input.read(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
        )
        guard count > 0 || wanted == 0 else { throw endInsideEntry() }
        remaining -= UInt64(count)
        return count
    }

    private func endInsideEntry() -> ContentError {
        .truncated("tar archive ends at offset \(offset) inside an entry")
    }

    private mutating func skipContent() throws(ContentError) {
        while remaining > 0 {
            let count = try input.fill(atLeast: 1)
            guard count > 0 else { throw endInsideEntry() }
            let skipped = min(remaining, UInt64(count))
            input.consume(Int(skipped))
            remaining -= skipped
        }
        // A source that ends inside the padding has given every byte of the entry: no error.
        let padded = Int(padding)
        padding = 0
        if padded > 0 { input.consume(min(padded, try input.fill(atLeast: padded))) }
    }

    /// The next header; nil at the end of the archive.
    private mutating func readHeader() throws(ContentError) -> TarHeader? {
        guard let block = try readBlock() else { return nil }
        let place = offset.bytes - UInt64(TarHeader.blockSize)
        if block.allSatisfy({ $0 == 0 }) {
            guard let second = try readBlock() else { return nil }
            guard second.allSatisfy({ $0 == 0 }) else {
                throw .corrupt("tar archive has a lone block of zeros at offset \(place)")
            }
            return nil
        }
        do throws(ContentError) {
            return try TarHeader(block)
        } catch {
            throw error.at("offset \(place)")
        }
    }

    /// The next block; nil if the source ends where it would begin.
    private mutating func readBlock() throws(ContentError) -> [UInt8]? {
        let count = try input.fill(atLeast: TarHeader.blockSize)
        guard count > 0 else { return nil }
        guard count >= TarHeader.blockSize else {
            throw .truncated("tar archive ends \(count) bytes into the header at offset \(offset)")
        }
        let block = try input.buffered.bytes(at: 0, count: TarHeader.blockSize)
        input.consume(TarHeader.blockSize)
        return block
    }

    /// Takes one header: of an entry, which is returned, or one that says more about the next.
    private mutating func take(
        _ header: TarHeader,
        _ extensions: inout Extensions
    ) throws(ContentError) -> TarEntry? {
        switch header.type {
        case UInt8(ascii: "x"):
            var records = PaxRecords()
            try records.add(try readExtension(header))
            extensions.records = records
        case UInt8(ascii: "g"):
            // Checked and passed over, as containerd, Docker and Podman do when they unpack a
            // layer: an image must not be another one here.
            var records = PaxRecords()
            try records.add(try readExtension(header))
        case UInt8(ascii: "L"):
            extensions.longName = Array(try readExtension(header).prefix { $0 != 0 })
        case UInt8(ascii: "K"):
            extensions.longLink = Array(try readExtension(header).prefix { $0 != 0 })
        case UInt8(ascii: "V"):
            try setContent(try header.size())
            try skipContent()
        default:
            return try entry(header, extensions)
        }
        return nil
    }

    private mutating func readExtension(_ header: TarHeader) throws(ContentError) -> [UInt8] {
        let size = try header.size()
        guard size <= Self.extensionLimit else {
            throw ContentError(.limitExceeded, "extended header of \(size) bytes, at most 1 MiB")
        }
        try setContent(size)
        var data = [UInt8](repeating: 0, count: Int(size))
        try readStored(&data)
        try skipContent()
        return data
    }

    /// Fills an array with stored bytes of the current entry.
    private mutating func readStored(_ data: inout [UInt8]) throws(ContentError) {
        var done = 0
        while done < data.count {
            let start = done
            var failure: ContentError?
            done += unsafe data.withUnsafeMutableBytes { bytes in
                do throws(ContentError) {
                    return try unsafe readStored(
                        into: UnsafeMutableRawBufferPointer(rebasing: bytes[start...])
                    )
                } catch {
                    failure = error
                    return 0
                }
            }
            if let failure { throw failure }
        }
    }

    private mutating func setContent(_ size: UInt64) throws(ContentError) {
        guard size <= UInt64(Int64.max) else {
            throw .corrupt("size \(size) is more than a file can have")
        }
        remaining = size
        sparse = nil
        padding = (UInt64(TarHeader.blockSize) - size % 512) % 512
    }

    private mutating func entry(
        _ header: TarHeader,
        _ extensions: Extensions
    ) throws(ContentError) -> TarEntry {
        let records = extensions.records ?? PaxRecords()
        let sparse = try records.sparse()
        let recordPath = try records.path("path")
        // A GNU long name counts more than a pax record, as in Go.
        let path = sparse?.path ?? extensions.longName ?? recordPath ?? header.path
        do throws(ContentError) {
            var entry = try entry(header, records, path: path, longLink: extensions.longLink)
            if entry.kind == .regular || sparse != nil {
                let contentSize = try readSparseMap(header, sparse, entry)
                entry.size = contentSize ?? entry.size
                entry.hasHoles = contentSize != nil
            }
            return entry
        } catch {
            // The header's own name, which the caller adds, may be a stand-in for this one.
            throw path == header.path ? error : error.at(escapedText(of: path))
        }
    }

    private mutating func entry(
        _ header: TarHeader,
        _ records: PaxRecords,
        path: [UInt8],
        longLink: [UInt8]?
    ) throws(ContentError) -> TarEntry {
        let kind = try Self.kind(header.type, path: path)
        var attributes = try header.attributes()
        if let value = try records.number("uid", UInt32.self) { attributes.userID = value }
        if let value = try records.number("gid", UInt32.self) { attributes.groupID = value }
        if let time = try records.modificationTime() {
            attributes.modificationSeconds = time.seconds
            attributes.modificationNanoseconds = time.nanoseconds
        }
        // Only regular files have content: other types may carry a size that means nothing.
        let headerSize = try header.size()
        let size = try records.number("size", UInt64.self) ?? headerSize
        try setContent(kind == .regular ? size : 0)
        let isDevice = kind == .characterDevice || kind == .blockDevice
        let recordTarget = try records.path("linkpath")
        return TarEntry(
            path: path,
            kind: kind,
            linkTarget: longLink ?? recordTarget ?? header.linkTarget,
            attributes: attributes,
            device: isDevice ? try header.device() : DeviceNumber(major: 0, minor: 0),
            size: remaining,
            xattrs: try records.xattrs()
        )
    }

    /// Reads where the bytes of a file with holes belong.
    ///
    /// - Returns: the size of the file's content; nil for a file without a map.
    private mutating func readSparseMap(
        _ header: TarHeader,
        _ records: PaxRecords.Sparse?,
        _ entry: TarEntry
    ) throws(ContentError) -> UInt64? {
        let map: SparseMap
        let contentSize: UInt64
        if header.type == UInt8(ascii: "S") {
            guard records == nil else {
                throw .corrupt("both a GNU sparse header and pax sparse records")
            }
            (map, contentSize) = try readGNUMap(header)
        } else if let records {
            guard entry.kind == .regular else {
                throw .corrupt("pax sparse records of a \(entry.kind)")
            }
            if let known = records.map { map = known } else { map = try readMapText() }
            contentSize = records.contentSize
        } else {
            return nil
        }
        guard contentSize <= UInt64(Int64.max) else {
            throw .corrupt("size \(contentSize) is more than a file can have")
        }
        try map.check(contentSize: contentSize, storedSize: remaining)
        sparse = SparseCursor(map, contentSize: contentSize)
        return contentSize
    }

    /// The map in a GNU sparse header and in the blocks after it, which no size counts.
    private mutating func readGNUMap(
        _ header: TarHeader
    ) throws(ContentError) -> (SparseMap, UInt64) {
        var (map, continues, contentSize) = try header.gnuSparse()
        while continues {
            guard let block = try readBlock() else { throw endInsideEntry() }
            continues = try map.appendSegments(ofBlock: block, start: 0, pairs: 21)
        }
        return (map, contentSize)
    }

    /// The map that takes the first blocks of the stored bytes.
    private mutating func readMapText() throws(ContentError) -> SparseMap {
        var text = SparseMapText()
        while !text.isComplete {
            guard remaining >= UInt64(TarHeader.blockSize) else {
                throw .corrupt("sparse map does not end in the file's \(remaining) bytes")
            }
            var block = [UInt8](repeating: 0, count: TarHeader.blockSize)
            try readStored(&block)
            try text.add(block)
        }
        return text.map
    }

    private static func kind(_ type: UInt8, path: [UInt8]) throws(ContentError) -> TarEntry.Kind {
        switch type {
        // Before POSIX a directory was told by the slash at its end.
        case 0: path.last == 0x2f ? .directory : .regular
        case UInt8(ascii: "0"), UInt8(ascii: "7"), UInt8(ascii: "S"): .regular
        case UInt8(ascii: "1"): .hardLink
        case UInt8(ascii: "2"): .symlink
        case UInt8(ascii: "3"): .characterDevice
        case UInt8(ascii: "4"): .blockDevice
        case UInt8(ascii: "5"): .directory
        case UInt8(ascii: "6"): .fifo
        default: throw .unsupported("entry type '\(escapedText(of: [type]))' is not supported")
        }
    }
}
