// SPDX-License-Identifier: Apache-2.0

import Content

/// The records of pax extended headers: `length key=value\n`, one after another.
struct PaxRecords {
    private var values: [[UInt8]: [UInt8]] = [:]
    /// The map of sparse version 0.0, whose two records come again for every segment.
    private var repeatedMap: [UInt8] = []
    private var repeatedCount = 0

    /// The prefix of keys that hold extended attributes: their values are bytes of any kind.
    private static let xattrPrefix = Array("SCHILY.xattr.".utf8)
    private static let sparsePrefix = Array("GNU.sparse.".utf8)
    private static let sparseOffset = Array("GNU.sparse.offset".utf8)
    private static let sparseSize = Array("GNU.sparse.numbytes".utf8)

    /// No records.
    init() {}

    /// The number of bytes kept, for limits.
    var byteCount: Int {
        values.reduce(repeatedMap.count) { $0 + $1.key.count + $1.value.count }
    }

    /// Adds the records of one header; of a key that comes again the last value counts.
    ///
    /// - Parameter data: the header's content.
    /// - Throws: `ContentError` naming the offset in the header.
    mutating func add(_ data: [UInt8]) throws(ContentError) {
        var position = 0
        while position < data.count {
            let length = try Self.length(of: data, at: position)
            let record = data[position..<position + length]
            guard record.last == 0x0a, let space = record.firstIndex(of: 0x20) else {
                throw .corrupt("pax record at offset \(position) has no end")
            }
            let body = record[(space + 1)..<(record.endIndex - 1)]
            guard let equals = body.firstIndex(of: 0x3d), equals > body.startIndex else {
                throw .corrupt("pax record at offset \(position) has no key")
            }
            try add(Array(body[..<equals]), Array(body[(equals + 1)...]))
            position += length
        }
    }

    private mutating func add(_ key: [UInt8], _ value: [UInt8]) throws(ContentError) {
        let isOffset = key == Self.sparseOffset
        guard isOffset || key == Self.sparseSize else {
            values[key] = value
            return
        }
        guard isOffset == repeatedCount.isMultiple(of: 2), !value.contains(0x2c) else {
            throw .corrupt("pax sparse records: offsets and sizes do not come in turn")
        }
        if repeatedCount > 0 { repeatedMap.append(0x2c) }
        repeatedMap += value
        repeatedCount += 1
    }

    /// The length of the record at the position: checked to lie in the data, and to hold at least
    /// its own digits, a blank and a line end.
    private static func length(of data: [UInt8], at position: Int) throws(ContentError) -> Int {
        var length = 0
        var index = position
        while index < data.count, (0x30...0x39).contains(data[index]), length <= data.count {
            length = length * 10 + Int(data[index] - 0x30)
            index += 1
        }
        guard index > position, index < data.count, data[index] == 0x20,
            length <= data.count - position, length > index + 1 - position
        else { throw .corrupt("pax record at offset \(position) has no valid length") }
        return length
    }

    // An empty value means "as if there were no record" (POSIX), but for extended attributes,
    // which may be empty.
    private func value(_ key: String) -> [UInt8]? {
        guard let value = values[Array(key.utf8)], !value.isEmpty else { return nil }
        return value
    }

    /// The path or link target of that key.
    func path(_ key: String) throws(ContentError) -> [UInt8]? {
        guard let value = value(key) else { return nil }
        guard !value.contains(0) else { throw .corrupt("pax \(key) holds a NUL") }
        return value
    }

    /// The whole number of that key.
    func number<T: FixedWidthInteger>(_ key: String, _ type: T.Type) throws(ContentError) -> T? {
        guard let value = value(key) else { return nil }
        guard value.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = T(String(decoding: value, as: UTF8.self))
        else { throw .corrupt("pax \(key) is no number in range: \(escapedText(of: value))") }
        return number
    }

    /// The modification time: seconds, and nanoseconds in 0..<1_000_000_000; finer digits are cut.
    func modificationTime() throws(ContentError) -> (seconds: Int64, nanoseconds: UInt32)? {
        guard let value = value("mtime") else { return nil }
        let isNegative = value.first == 0x2d
        let parts = value.dropFirst(isNegative ? 1 : 0)
            .split(separator: 0x2e, maxSplits: 1, omittingEmptySubsequences: false)
        let isDigits = parts.allSatisfy { $0.allSatisfy { (0x30...0x39).contains($0) } }
        guard isDigits, let whole = parts.first, !whole.isEmpty,
            let seconds = Int64(String(decoding: whole, as: UTF8.self))
        else { throw .corrupt("pax mtime is no time: \(escapedText(of: value))") }
        var nanoseconds: UInt32 = 0
        let fraction = parts.count > 1 ? Array(parts[1].prefix(9)) : []
        for position in 0..<9 {
            nanoseconds = nanoseconds * 10
            if position < fraction.count { nanoseconds += UInt32(fraction[position] - 0x30) }
        }
        guard isNegative else { return (seconds, nanoseconds) }
        // -1.25 is 2 whole seconds before the epoch and 0.75 after that.
        guard nanoseconds > 0 else { return (-seconds, 0) }
        return (-seconds - 1, 1_000_000_000 - nanoseconds)
    }

    /// The extended attributes, ascending by name.
    func xattrs() throws(ContentError) -> [ExtendedAttribute] {
        var result: [ExtendedAttribute] = []
        for (key, value) in values where key.starts(with: Self.xattrPrefix) {
            let name = Array(key.dropFirst(Self.xattrPrefix.count))
            guard !name.isEmpty, !name.contains(0) else {
                throw .corrupt("extended attribute name is no name: \"\(escapedText(of: name))\"")
            }
            result.append(ExtendedAttribute(name: name, value: value))
        }
        return result.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    /// How the records describe a file with holes.
    struct Sparse {
        /// The map; nil if it stands in front of the content (version 1.0).
        var map: SparseMap?
        /// The size of the content, in bytes.
        var contentSize: UInt64
        /// The file's path; nil where the header has it.
        var path: [UInt8]?
    }

    /// What the records say of a file with holes; nil if they describe none.
    func sparse() throws(ContentError) -> Sparse? {
        let hasRecords = values.keys.contains { $0.starts(with: Self.sparsePrefix) }
        guard hasRecords || repeatedCount > 0 else { return nil }
        let key = value("GNU.sparse.size") == nil ? "GNU.sparse.realsize" : "GNU.sparse.size"
        guard let contentSize = try number(key, UInt64.self) else {
            throw .corrupt("pax sparse records without the file's size")
        }
        return Sparse(
            map: try sparseMap(),
            contentSize: contentSize,
            path: try path("GNU.sparse.name")
        )
    }

    private func sparseMap() throws(ContentError) -> SparseMap? {
        let major = try number("GNU.sparse.major", UInt32.self) ?? 0
        let minor = try number("GNU.sparse.minor", UInt32.self) ?? 0
        switch (major, minor) {
        case (1, 0):
            return nil
        case (0, _):
            guard let record = value("GNU.sparse.map") ?? (repeatedCount > 0 ? repeatedMap : nil)
            else { throw .corrupt("pax sparse records without a map") }
            return try SparseMap(record: record)
        default:
            throw .unsupported("pax sparse format \(major).\(minor) is not supported")
        }
    }
}
