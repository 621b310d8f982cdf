// SPDX-License-Identifier: Apache-2.0

import Content

/// One 512-byte header block and its fields (POSIX.1-2017 pax, "ustar Interchange Format").
struct TarHeader {
    /// The size of a block in bytes; headers take one, content is padded to whole ones.
    static let blockSize = 512

    /// The three ways the bytes after the magic number are laid out.
    private enum Format {
        case old
        case ustar
        case star
        case gnu
    }

    // Offset and length of each field, in bytes.
    private enum Field {
        static let name = 0..<100
        static let mode = 100..<108
        static let userID = 108..<116
        static let groupID = 116..<124
        static let size = 124..<136
        static let modificationTime = 136..<148
        static let checksum = 148..<156
        static let type = 156
        static let linkName = 157..<257
        static let magic = 257..<263
        static let deviceMajor = 329..<337
        static let deviceMinor = 337..<345
        static let prefix = 345..<500
        static let starPrefix = 345..<476
        static let starTrailer = 508..<512
        static let gnuTimes = [345..<357, 357..<369]
        static let gnuSparsePairs = 386
        static let gnuContentSize = 483..<495
    }

    private let block: [UInt8]
    private let format: Format

    /// The header in the block.
    ///
    /// - Parameter block: 512 bytes.
    /// - Throws: `ContentError` if the checksum does not fit.
    init(_ block: [UInt8]) throws(ContentError) {
        guard block.count == Self.blockSize else {
            throw .truncated("tar header of \(block.count) bytes")
        }
        self.block = block
        // GNU's magic number differs in its sixth byte; versions are not told apart, as in Go.
        if block[Field.magic].elementsEqual("ustar\u{0}".utf8) {
            let isStar = block[Field.starTrailer].elementsEqual("tar\u{0}".utf8)
            format = isStar ? .star : .ustar
        } else {
            format = block[Field.magic].elementsEqual("ustar ".utf8) ? .gnu : .old
        }
        try verifyChecksum()
    }

    /// The type flag.
    var type: UInt8 { block[Field.type] }

    /// The path: name, and prefix where the format has one.
    var path: [UInt8] {
        let name = text(Field.name)
        let prefix = prefix
        return prefix.isEmpty ? name : prefix + [0x2f] + name
    }

    /// The target of a link.
    var linkTarget: [UInt8] { text(Field.linkName) }

    /// The size field.
    func size() throws(ContentError) -> UInt64 {
        try Self.size(block[Field.size], "size")
    }

    /// Permissions, owner and time.
    func attributes() throws(ContentError) -> FileAttributes {
        FileAttributes(
            permissions: UInt16(truncatingIfNeeded: try number(Field.mode, "mode") & 0o7777),
            userID: try identity(Field.userID, "uid"),
            groupID: try identity(Field.groupID, "gid"),
            modificationSeconds: try number(Field.modificationTime, "mtime"),
            modificationNanoseconds: 0
        )
    }

    /// The device number; 0:0 in the old format, which has no field for it.
    func device() throws(ContentError) -> DeviceNumber {
        guard format != .old else { return DeviceNumber(major: 0, minor: 0) }
        return DeviceNumber(
            major: try identity(Field.deviceMajor, "device major"),
            minor: try identity(Field.deviceMinor, "device minor")
        )
    }

    /// What the header of a sparse file in GNU's own format says of its content.
    ///
    /// - Returns: the beginning of the map, whether blocks with more of it follow, and the size
    ///   of the content in bytes.
    /// - Throws: `ContentError` if the header is of another format, or a field is no number.
    func gnuSparse() throws(ContentError) -> (
        map: SparseMap, continues: Bool, contentSize: UInt64
    ) {
        guard format == .gnu else {
            throw .unsupported("a sparse file (type 'S') in another format than GNU's")
        }
        var map = SparseMap()
        let continues = try map.appendSegments(
            ofBlock: block,
            start: Field.gnuSparsePairs,
            pairs: 4
        )
        return (map, continues, try Self.size(block[Field.gnuContentSize], "sparse file's size"))
    }

    /// A number that is not negative.
    static func size(_ bytes: ArraySlice<UInt8>, _ name: String) throws(ContentError) -> UInt64 {
        let value = try number(bytes, name)
        guard value >= 0 else { throw .corrupt("negative \(name) \(value)") }
        return UInt64(value)
    }

    private var prefix: [UInt8] {
        switch format {
        case .old: return []
        case .ustar: return text(Field.prefix)
        case .star: return text(Field.starPrefix)
        case .gnu:
            // GNU keeps atime and ctime here. Go before 1.8 wrote a prefix all the same, and old
            // Docker images hold such headers: what is no number and all ASCII is a prefix.
            let isTimes = Field.gnuTimes.allSatisfy { (try? number($0, "time")) != nil }
            let prefix = text(Field.prefix)
            return !isTimes && prefix.allSatisfy { $0 < 0x80 } ? prefix : []
        }
    }

    /// The bytes of a field up to its first NUL.
    private func text(_ field: Range<Int>) -> [UInt8] {
        Array(block[field].prefix { $0 != 0 })
    }

    private func identity(_ field: Range<Int>, _ name: String) throws(ContentError) -> UInt32 {
        let value = try number(field, name)
        guard let identity = UInt32(exactly: value) else {
            throw .corrupt("\(name) \(value) is not in 0...\(UInt32.max)")
        }
        return identity
    }

    private func number(_ field: Range<Int>, _ name: String) throws(ContentError) -> Int64 {
        try Self.number(block[field], name)
    }

    private static func number(
        _ bytes: ArraySlice<UInt8>,
        _ name: String
    ) throws(ContentError) -> Int64 {
        guard
            let value = bytes.first.map({ $0 >= 0x80 }) == true
                ? base256(bytes) : octal(bytes)
        else {
            throw .corrupt("\(name) field is no number: \(escapedText(of: bytes))")
        }
        return value
    }

    /// Octal digits between spaces and NULs; nothing at all is 0.
    static func octal(_ bytes: ArraySlice<UInt8>) -> Int64? {
        let digits = bytes.drop { $0 == 0x20 || $0 == 0 }.prefix { $0 != 0x20 && $0 != 0 }
        let rest = bytes[digits.endIndex...]
        // After the digits comes an end mark; what follows a NUL is nobody's.
        guard rest.prefix(while: { $0 != 0 }).allSatisfy({ $0 == 0x20 }) else { return nil }
        var value: Int64 = 0
        for digit in digits {
            guard (0x30...0x37).contains(digit), value < 1 << 60 else { return nil }
            value = value << 3 | Int64(digit - 0x30)
        }
        return value
    }

    /// GNU's base-256: a two's complement number, big-endian; the first bit only says so.
    static func base256(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard let first = bytes.first else { return nil }
        // The sign is the second bit; the marking bit is made equal to it.
        let isNegative = first & 0x40 != 0
        var value: Int64 = isNegative ? -1 : 0
        for (index, byte) in bytes.enumerated() {
            let digit = index == 0 ? (isNegative ? byte | 0x80 : byte & 0x7f) : byte
            let (high, overflow) = value.multipliedReportingOverflow(by: 256)
            guard !overflow else { return nil }
            value = high | Int64(digit)
        }
        return value
    }

    private func verifyChecksum() throws(ContentError) {
        guard let recorded = Self.octal(block[Field.checksum]) else {
            throw .corrupt("tar header without a checksum")
        }
        var unsigned: Int64 = 0
        var signed: Int64 = 0
        for (index, byte) in block.enumerated() {
            let counted = Field.checksum.contains(index) ? 0x20 : byte
            unsigned += Int64(counted)
            signed += Int64(Int8(bitPattern: counted))
        }
        // Some old writers summed signed characters.
        guard recorded == unsigned || recorded == signed else {
            throw .corrupt(
                "tar header has checksum \(String(recorded, radix: 8)),"
                    + " its bytes give \(String(unsigned, radix: 8))"
            )
        }
    }
}
