// SPDX-License-Identifier: Apache-2.0

package import Content

/// Writes ustar archives (sizes of 8 GiB and more as GNU tar has them) that depend on nothing but what is put in: owner 0:0, time 0.
package struct TarWriter<Sink: ByteSink & ~Copyable>: ~Copyable {
    private var sink: Sink

    /// An archive into the sink.
    package init(_ sink: consuming Sink) {
        self.sink = sink
    }

    /// Adds a directory, mode 0755.
    ///
    /// - Parameter path: relative, without a slash at its end; at most 255 bytes.
    /// - Throws: `ContentError` if the path does not fit a ustar header, and what the sink throws.
    package mutating func addDirectory(_ path: String) throws(ContentError) {
        try write(try Self.header(path + "/", type: "5", permissions: 0o755, size: 0))
    }

    /// Adds a regular file, mode 0444.
    ///
    /// - Parameters:
    ///   - path: relative; at most 255 bytes.
    ///   - content: what it holds.
    /// - Throws: `ContentError` if the path does not fit a ustar header, and what the sink throws.
    package mutating func addFile(_ path: String, _ content: RawSpan) throws(ContentError) {
        try write(
            try Self.header(path, type: "0", permissions: 0o444, size: UInt64(content.byteCount))
        )
        try sink.write(content)
        try pad(UInt64(content.byteCount))
    }

    /// Adds a regular file, mode 0444, whose content is read from a stream.
    ///
    /// - Parameters:
    ///   - path: relative; at most 255 bytes.
    ///   - size: the content's size in bytes.
    ///   - source: gives the content, which must have that size.
    /// - Throws: `ContentError` if the path does not fit, or the content has another size; what
    ///   source and sink throw.
    package mutating func addFile(
        _ path: String,
        size: UInt64,
        from source: inout some ByteStream & ~Copyable
    ) throws(ContentError) {
        try write(try Self.header(path, type: "0", permissions: 0o444, size: size))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        var written: UInt64 = 0
        while true {
            let count = try unsafe source.read(into: buffer)
            guard count > 0 else { break }
            written += UInt64(count)
            guard written <= size else { break }
            try unsafe sink.write(
                RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            )
        }
        guard written == size else {
            throw .corrupt("\(path): has \(written) bytes or more, expected \(size)")
        }
        try pad(size)
    }

    private mutating func pad(_ size: UInt64) throws(ContentError) {
        let block = UInt64(TarHeader.blockSize)
        try write([UInt8](repeating: 0, count: Int((block - size % block) % block)))
    }

    /// Ends the archive with two blocks of zeros.
    ///
    /// - Returns: the sink.
    /// - Throws: what the sink throws.
    package consuming func finish() throws(ContentError) -> Sink {
        try write([UInt8](repeating: 0, count: 2 * TarHeader.blockSize))
        return sink
    }

    private mutating func write(_ bytes: [UInt8]) throws(ContentError) {
        try sink.write(bytes.rawSpan)
    }

    private static func header(
        _ path: String,
        type: Unicode.Scalar,
        permissions: UInt16,
        size: UInt64
    ) throws(ContentError) -> [UInt8] {
        let (prefix, name) = try split(Array(path.utf8))
        var block: [UInt8] = []
        block += field(name, 100)
        block += octal(UInt64(permissions), 8) + octal(0, 8) + octal(0, 8)
        block += number(size, 12) + octal(0, 12)
        block += [UInt8](repeating: 0x20, count: 8)
        block += [UInt8(ascii: type)] + field([], 100)
        block += Array("ustar\u{0}00".utf8) + field([], 64)
        block += octal(0, 8) + octal(0, 8)
        block += field(prefix, 167)
        let sum = block.reduce(UInt64(0)) { $0 + UInt64($1) }
        // Six digits, a NUL, a blank: the one field that ends this way.
        block.replaceSubrange(148..<156, with: octal(sum, 7) + [0x20])
        return block
    }

    /// Splits a path at a slash so that prefix and name fit their fields.
    private static func split(
        _ path: [UInt8]
    ) throws(ContentError) -> (prefix: [UInt8], name: [UInt8]) {
        guard path.count > 100 else { return ([], path) }
        // The last byte may be a directory's own slash, which stays with the name.
        for (index, byte) in path.dropLast().enumerated() where byte == 0x2f {
            if index <= 155, path.count - index - 1 <= 100 {
                return (Array(path[..<index]), Array(path[(index + 1)...]))
            }
        }
        throw .unsupported("path \(escapedText(of: path)) does not fit a ustar header")
    }

    private static func field(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: width - bytes.count)
    }

    /// Octal digits, or where they do not fit GNU's base-256, which every reader knows.
    private static func number(_ value: UInt64, _ width: Int) -> [UInt8] {
        guard value >> (3 * UInt64(width - 1)) != 0 else { return octal(value, width) }
        let bytes = (0..<8).reversed().map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
        return [0x80] + [UInt8](repeating: 0, count: width - 9) + bytes
    }

    /// Octal digits with zeros in front and a NUL behind.
    private static func octal(_ value: UInt64, _ width: Int) -> [UInt8] {
        let digits = Array(String(value, radix: 8).utf8)
        return [UInt8](repeating: 0x30, count: width - 1 - digits.count) + digits + [0]
    }
}
