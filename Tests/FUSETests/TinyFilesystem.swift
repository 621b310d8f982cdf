// SPDX-License-Identifier: Apache-2.0

import FUSE
import Linux

/// A file system in memory: one directory, files of every kind the tests need.
final class TinyFilesystem: FuseFilesystem {
    enum Node: UInt64 {
        /// What a hostile image may do: a file that has the kernel's number of the root.
        case hello = 1
        case root = 128
        case big = 200
        case link = 300
        case stalled = 400
        case device = 500
        case broken = 600
        /// As `stalled`, with many pages.
        case wide = 700
    }

    static let names: [(name: String, node: Node)] = [
        (".", .root), ("..", .root), ("big", .big), ("broken", .broken), ("device", .device),
        ("hello", .hello), ("link", .link), ("stalled", .stalled),
        ("wide", .wide),
    ]
    static let bigSize: UInt64 = 3 << 20
    static let hello = Array("hello, kernel\n".utf8)

    let rootNode = Node.root.rawValue
    let hasXattrs: Bool
    /// Reads of `stalled`, each waiting to be answered by the test.
    let stalledReads = Monitor<[ParkedRequest]>([])

    init(hasXattrs: Bool) {
        self.hasXattrs = hasXattrs
    }

    /// The byte at a place of `big`.
    static func byte(at offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: offset &* 31 >> 3) }

    func lookup(_ name: RawSpan, in directory: UInt64) throws(FuseFailure) -> FuseAttributes? {
        guard directory == rootNode else { throw .invalid }
        let text = unsafe name.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
        guard let found = Self.names.first(where: { $0.name == text }) else { return nil }
        return try attributes(of: found.node.rawValue)
    }

    func attributes(of node: UInt64) throws(FuseFailure) -> FuseAttributes {
        guard let known = Node(rawValue: node), known != .broken else { throw .inputOutput }
        var result = FuseAttributes(
            node: node,
            mode: Self.typeBits(known) | 0o644,
            modificationSeconds: -5,
            modificationNanoseconds: 7
        )
        switch known {
        case .root:
            result.mode |= 0o111
            result.linkCount = 2
        case .big: result.size = Self.bigSize
        case .hello:
            result.size = UInt64(Self.hello.count)
            result.mode |= 0o4000
        case .link: result.size = 5
        case .stalled: result.size = 4096
        case .wide: result.size = 4096 * 1024
        case .device: result.device = 0x0010_0334  // major 3, minor 0x134 in new_encode_dev
        case .broken: break
        }
        return result
    }

    static func typeBits(_ node: Node) -> UInt32 {
        switch node {
        case .root: 0o040_000
        case .link: 0o120_000
        case .device: 0o020_000
        default: 0o100_000
        }
    }

    func readSymlink(_ node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure) {
        guard node == Node.link.rawValue else { throw .invalid }
        for byte in "hello".utf8 { reply.append(byte) }
    }

    func readDirectory(
        _ node: UInt64,
        from position: UInt64,
        into reply: inout DirectoryBuffer
    ) throws(FuseFailure) {
        guard node == rootNode else { throw .invalid }
        for (index, entry) in Self.names.enumerated().dropFirst(Int(position)) {
            let name = Array(entry.name.utf8)
            let isAdded = unsafe reply.add(
                name.span.bytes,
                node: entry.node.rawValue,
                typeBits: Self.typeBits(entry.node),
                position: UInt64(index) + 1,
                attributes: { try? attributes(of: entry.node.rawValue) }
            )
            guard isAdded else { return }
        }
    }

    func read(
        _ node: UInt64,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer,
        answering request: consuming FuseRequest
    ) {
        switch Node(rawValue: node) {
        case .hello:
            let rest = Self.hello.dropFirst(Int(offset)).prefix(buffer.count)
            unsafe buffer.copyBytes(from: rest)
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<rest.count])
            request.reply(unsafe RawSpan(_unsafeBytes: bytes))
        case .big:
            let end = min(Self.bigSize, offset + UInt64(buffer.count))
            for place in offset..<max(end, offset) {
                unsafe buffer[Int(place - offset)] = Self.byte(at: place)
            }
            let count = Int(max(end, offset) - offset)
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
            request.reply(unsafe RawSpan(_unsafeBytes: bytes))
        case .stalled, .wide:
            guard let parked = request.park() else { return }
            stalledReads.update { $0.append(parked) }
        default:
            // Dropped: answers EIO by itself.
            return
        }
    }

    func seek(
        _ node: UInt64,
        from offset: UInt64,
        seeksHole: Bool
    ) throws(FuseFailure) -> UInt64 {
        let size = try attributes(of: node).size
        guard offset < size else { throw .pastEnd }
        return seeksHole ? size : offset
    }

    func readXattr(
        _ name: RawSpan,
        of node: UInt64,
        into reply: inout ReplyBuffer
    ) throws(FuseFailure) {
        let text = unsafe name.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
        guard text == "user.colour" || text == "trusted.overlay.opaque" else { throw .noAttribute }
        for byte in "blue".utf8 { reply.append(byte) }
    }

    func listXattrs(of node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure) {
        for byte in "user.colour".utf8 { reply.append(byte) }
        // As the suffix of `system.posix_acl_access` is: none, even where nothing fits any more.
        unsafe reply.append([UInt8]().span.bytes)
        reply.append(0)
    }

    func statistics() -> FuseStatistics {
        FuseStatistics(size: 12_345_678, fileCount: 6)
    }
}
