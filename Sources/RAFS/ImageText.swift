// SPDX-License-Identifier: Apache-2.0

package import Content

/// Reads the text that `ImageDump` writes, for fixtures and tests that are text.
package struct ImageText {
    private var writer: BootstrapWriter
    private var chunks: [ChunkAddress: Chunk] = [:]
    private var nodes: [[UInt8]: FileTree.NodeID] = [:]
    private var prefetch: [[UInt8]] = []

    /// The image that the text describes.
    ///
    /// - Parameter text: lines as `ImageDump` writes them.
    /// - Throws: `ContentError` naming the line that cannot be read.
    package init(_ text: String) throws(ContentError) {
        writer = BootstrapWriter(tree: FileTree(), blobs: [], chunkSize: 1 << 20, flags: [])
        for (number, line) in text.split(separator: "\n").enumerated() {
            guard read(line.split(separator: " ")) != nil else {
                throw .corrupt("line \(number + 1) cannot be read: \(line.prefix(120))")
            }
        }
        for path in prefetch {
            guard let node = nodes[path] else {
                throw .corrupt("prefetch names \(escapedText(of: path)), which is not there")
            }
            writer.prefetch.append(node)
        }
    }

    /// The bootstrap.
    ///
    /// - Returns: its bytes.
    /// - Throws: `ContentError` as `BootstrapWriter.write` does.
    package func bootstrap() throws(ContentError) -> [UInt8] {
        try writer.write { chunks[$0] }
    }

    /// Reads one line; nil if it is malformed.
    private mutating func read(_ words: [Substring]) -> Void? {
        guard let first = words.first else { return nil }
        let fields = Fields(words.dropFirst())
        switch first {
        case "rafs-v6":
            guard let size = fields.number("chunk-size"), let chunkSize = UInt32(exactly: size),
                let flags = fields.number("flags")
            else { return nil }
            writer.chunkSize = chunkSize
            writer.flags = BootstrapFlags(rawValue: flags)
            writer.marksImplicitDirectories = true
            return ()
        case "blob":
            guard let blob = Self.blob(fields, chunkSize: writer.chunkSize) else { return nil }
            return writer.blobs.append(blob)
        case "chunk":
            guard words.count > 1, let address = Self.address(words[1]),
                let chunk = Self.chunk(fields)
            else { return nil }
            chunks[address] = chunk
            return ()
        case "prefetch":
            guard words.count == 2, let path = bytes(ofEscapedText: words[1]) else { return nil }
            return prefetch.append(path)
        default:
            guard let path = bytes(ofEscapedText: first), words.count > 1 else { return nil }
            return readName(path, type: words[1], fields)
        }
    }

    private mutating func readName(_ path: [UInt8], type: Substring, _ fields: Fields) -> Void? {
        let id: FileTree.NodeID
        if type == "hardlink" {
            guard let target = fields["to"], let path = bytes(ofEscapedText: target),
                let known = nodes[path]
            else { return nil }
            guard writer.tree[known].type != .directory else { return nil }
            id = known
        } else {
            guard let node = Self.node(type: type, fields), nodes[path] == nil else { return nil }
            if path == [0x2f] {
                guard node.type == .directory else { return nil }
                writer.tree[FileTree.root] = node
                nodes[path] = FileTree.root
                return ()
            }
            id = writer.tree.add(node)
            nodes[path] = id
        }
        guard let slash = path.lastIndex(of: 0x2f) else { return nil }
        let parentPath = slash == 0 ? [0x2f] : Array(path[..<slash])
        let name = FileName(path[(slash + 1)...])
        guard let parent = nodes[parentPath], writer.tree[parent].type == .directory,
            name.isValid, writer.tree[parent].children[name] == nil
        else { return nil }
        writer.tree[parent].children[name] = id
        return ()
    }
}

/// The words of a line: by place, and by key where they are `key=value`.
private struct Fields {
    let words: ArraySlice<Substring>

    init(_ words: ArraySlice<Substring>) {
        self.words = words
    }

    subscript(key: String) -> Substring? { all(key).first }

    func all(_ key: String) -> [Substring] {
        words.filter { $0.hasPrefix("\(key)=") }.map { $0.dropFirst(key.count + 1) }
    }

    func number(_ key: String) -> UInt64? {
        guard let text = self[key] else { return nil }
        return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }

    /// Numbers of a value that one character separates.
    func numbers(_ key: String, _ separator: Character) -> [UInt64]? {
        guard let text = self[key] else { return nil }
        return ImageText.numbers(text, separator)
    }
}

extension ImageText {
    fileprivate static func numbers(
        _ text: Substring,
        _ separator: Character
    ) -> [UInt64]? {
        var result: [UInt64] = []
        for part in text.split(separator: separator) {
            guard let number = UInt64(part) else { return nil }
            result.append(number)
        }
        return result
    }

    fileprivate static func address(_ text: Substring) -> ChunkAddress? {
        guard let parts = numbers(text, ":"), parts.count == 2,
            let blob = UInt16(exactly: parts[0]), let index = UInt32(exactly: parts[1])
        else { return nil }
        return ChunkAddress(blob: blob, index: index)
    }

    fileprivate static func chunk(_ fields: Fields) -> Chunk? {
        guard let digest = fields["digest"].flatMap({ Digest(hex: String($0)) }),
            let stored = fields.numbers("stored", "+"), stored.count == 2,
            let content = fields.numbers("content", "+"), content.count == 2,
            let storedSize = UInt32(exactly: stored[1]),
            let contentSize = UInt32(exactly: content[1])
        else { return nil }
        return Chunk(
            digest: digest,
            compressedOffset: CompressedOffset(stored[0]),
            compressedSize: storedSize,
            uncompressedOffset: UncompressedOffset(content[0]),
            uncompressedSize: contentSize
        )
    }

    fileprivate static func blob(_ fields: Fields, chunkSize: UInt32) -> BlobTableEntry? {
        guard let id = fields["id"],
            let chunks = fields.number("chunks").flatMap(UInt32.init(exactly:)),
            let compressed = fields.number("compressed"),
            let uncompressed = fields.number("uncompressed"),
            let compressor = fields["compressor"].flatMap(Self.compressor),
            let digester = fields["digester"].flatMap(Self.digester),
            let features = fields.number("features").flatMap(UInt32.init(exactly:)),
            let info = fields["info"]?.split(separator: ":"), info.count == 3,
            let infoCompressor = Self.compressor(info[0]),
            let place = numbers(info[1], "+"), place.count == 2, let size = UInt64(info[2])
        else { return nil }
        return BlobTableEntry(
            id: String(id),
            chunkCount: chunks,
            chunkSize: chunkSize,
            compressor: compressor,
            digester: digester,
            features: BlobFeatures(rawValue: features),
            compressedSize: compressed,
            uncompressedSize: uncompressed,
            chunkInfo: ChunkInfoLocation(
                compressor: infoCompressor,
                offset: place[0],
                compressedSize: place[1],
                uncompressedSize: size
            )
        )
    }

    private static func compressor(_ text: Substring) -> Compressor? {
        [.none, .lz4, .gzip, .zstd].first { "\($0 as Compressor)" == text }
    }

    private static func digester(_ text: Substring) -> Digester? {
        [.blake3, .sha256].first { "\($0 as Digester)" == text }
    }

    fileprivate static func node(type: Substring, _ fields: Fields) -> FileTree.Node? {
        let words = Array(fields.words)
        guard let type = FileType.allCases.first(where: { "\($0)" == type }), words.count >= 4,
            let attributes = attributes(words[1], words[2], words[3])
        else { return nil }
        var node = FileTree.Node(type: type, attributes: attributes)
        node.isImplicit = type == .directory && words.contains("implicit")
        node.size = fields.number("size") ?? 0
        for chunk in fields["chunks"]?.split(separator: ",") ?? [] {
            guard let address = address(chunk) else { return nil }
            node.chunks.append(address)
        }
        if let target = fields["target"] {
            guard let target = bytes(ofEscapedText: target) else { return nil }
            node.target = target
        }
        if let device = fields.numbers("device", ":") {
            guard device.count == 2, let major = UInt32(exactly: device[0]),
                let minor = UInt32(exactly: device[1])
            else { return nil }
            node.device = DeviceNumber(major: major, minor: minor)
        }
        for xattr in fields.all("xattr") {
            guard let comma = xattr.firstIndex(of: ","),
                let name = bytes(ofEscapedText: xattr[..<comma]),
                let value = bytes(ofEscapedText: xattr[xattr.index(after: comma)...])
            else { return nil }
            node.xattrs.append(ExtendedAttribute(name: name, value: value))
        }
        return node
    }

    private static func attributes(
        _ permissions: Substring,
        _ owner: Substring,
        _ time: Substring
    ) -> FileAttributes? {
        let parts = time.split(separator: ".")
        guard let permissions = UInt16(permissions, radix: 8),
            let owner = numbers(owner, ":"), owner.count == 2,
            let user = UInt32(exactly: owner[0]), let group = UInt32(exactly: owner[1]),
            parts.count == 2, let seconds = Int64(parts[0]), let nanoseconds = UInt32(parts[1]),
            permissions <= 0o7777, nanoseconds < 1_000_000_000
        else { return nil }
        return FileAttributes(
            permissions: permissions,
            userID: user,
            groupID: group,
            modificationSeconds: seconds,
            modificationNanoseconds: nanoseconds
        )
    }
}
