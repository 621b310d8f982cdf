// SPDX-License-Identifier: Apache-2.0

import Content

/// The records of pax extended headers: `length key=value\n`, one after another.
struct PaxRecords {
    private var values: [[UInt8]: [UInt8]] = [:]

    /// The prefix of keys that hold extended attributes: their values are bytes of any kind.
    private static let xattrPrefix = Array("SCHILY.xattr.".utf8)
    private static let sparsePrefix = Array("GNU.sparse.".utf8)
    private static let keys = ["path", "linkpath", "size", "uid", "gid", "mtime"].map {
        Array($0.utf8)
    }

    /// No records.
    init() {}

    /// The number of bytes kept, for limits.
    private(set) var byteCount = 0

    /// Adds the records of one header; of a key that comes again the last value counts.
    ///
    /// Keys without a meaning here are not kept: global records are looked through for every entry,
    /// and 1 MiB of them made a small archive take hours.
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
            let key = body[..<equals]
            if Self.hasMeaning(key) { put(Array(key), Array(body[(equals + 1)...])) }
            position += length
        }
    }

    /// Adds all records of others, which count more.
    mutating func add(_ others: PaxRecords) {
        for (key, value) in others.values { put(key, value) }
    }

    private static func hasMeaning(_ key: ArraySlice<UInt8>) -> Bool {
        key.starts(with: xattrPrefix) || key.starts(with: sparsePrefix)
            || keys.contains { $0.elementsEqual(key) }
    }

    private mutating func put(_ key: [UInt8], _ value: [UInt8]) {
        let old = values.updateValue(value, forKey: key)
        byteCount += value.count + (old.map { -$0.count } ?? key.count)
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
                throw .corrupt("extended attribute name is no name: \(escapedText(of: name))")
            }
            result.append(ExtendedAttribute(name: name, value: value))
        }
        return result.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    /// Whether the records describe a file with holes in one of GNU's sparse formats.
    var isSparse: Bool {
        values.keys.contains { $0.starts(with: Self.sparsePrefix) }
    }
}
