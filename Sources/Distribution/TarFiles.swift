// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Linux
import Tar

/// The files in a tar archive, read where they lie.
///
/// The archive's headers are read once; large files are jumped over. The archive must not change
/// while it is in use: it is held open, so that replacing it by rename does no harm.
final class TarFiles: LayoutFiles {
    /// Where a file's bytes lie in the archive.
    struct Extent: Equatable {
        var offset: UInt64
        var size: UInt64
    }

    private enum Entry {
        case file(Extent)
        /// Another path of the archive, cleaned.
        case link(String)
        /// Something that cannot be read where it lies.
        case unreadable(String)
    }

    private let file: ArchiveFile
    private let entries: [String: Entry]

    /// The most entries of an archive: those of images have a few for each layer.
    private static let entryLimit = 100_000
    /// Files larger than this, in bytes, are jumped over rather than read past.
    private static let jumpSize: UInt64 = 1 << 20
    /// The most links on the way to a file.
    private static let linkLimit = 8

    /// Opens the archive and reads its headers.
    ///
    /// - Parameter path: the archive.
    /// - Throws: `ContentError` if it cannot be read, or is no uncompressed tar.
    init(_ path: String) throws(ContentError) {
        file = try ArchiveFile(path)
        do throws(ContentError) {
            entries = try Self.index(file)
        } catch {
            throw error.message.hasPrefix(path) ? error : error.at(path)
        }
    }

    var place: String { file.path }

    private static func index(_ file: ArchiveFile) throws(ContentError) -> [String: Entry] {
        var entries: [String: Entry] = [:]
        let size = file.size
        var start: UInt64 = 0
        var count = 0
        try refuseCompressed(file)
        archive: while start < size {
            let extent = Extent(offset: start, size: size - start)
            var reader = TarReader(ExtentStream(file, extent))
            while let entry = try reader.next() {
                count += 1
                guard count <= entryLimit else {
                    throw ContentError(.limitExceeded, "over \(entryLimit) entries, no image")
                }
                let content = Extent(offset: start + reader.offset.bytes, size: entry.size)
                guard let name = cleaned(entry.path) else { continue }
                entries[name] = try self.entry(entry, name, content, archiveSize: size)
                // What follows is read past, or jumped to.
                if entry.size > jumpSize, !entry.hasHoles {
                    start = content.offset + (content.size + 511) / 512 * 512
                    continue archive
                }
            }
            break
        }
        return entries
    }

    private static func entry(
        _ entry: TarEntry,
        _ name: String,
        _ content: Extent,
        archiveSize: UInt64
    ) throws(ContentError) -> Entry? {
        switch entry.kind {
        case .regular:
            guard !entry.hasHoles else { return .unreadable("a sparse file in the archive") }
            guard content.offset <= archiveSize, content.size <= archiveSize - content.offset else {
                throw .truncated("\(name): the archive ends inside of it")
            }
            return .file(content)
        case .hardLink:
            return cleaned(entry.linkTarget).map { .link($0) }
        case .symlink:
            guard entry.linkTarget.first != 0x2f else { return nil }
            let directory = name.utf8.lastIndex(of: 0x2f).map { Array(name.utf8[..<$0]) } ?? []
            return cleaned(directory + [0x2f] + entry.linkTarget).map { .link($0) }
        default:
            return nil
        }
    }

    /// A path without `.`, `..` and needless slashes; nil if it leads out or is no UTF-8.
    private static func cleaned(_ path: [UInt8]) -> String? {
        guard let text = String(validating: path, as: UTF8.self) else { return nil }
        var names: [Substring] = []
        for name in text.split(separator: "/") where name != "." {
            guard name == ".." else {
                names.append(name)
                continue
            }
            guard names.popLast() != nil else { return nil }
        }
        return names.joined(separator: "/")
    }

    /// Random access ends where compression begins.
    private static func refuseCompressed(_ file: ArchiveFile) throws(ContentError) {
        let start = Extent(offset: 0, size: min(file.size, 8))
        var stream = BufferedStream(ExtentStream(file, start), capacity: 8)
        _ = try stream.fill(atLeast: 4)
        guard LayerCompression(magicOf: stream.buffered) == .none else {
            throw .unsupported("the archive is compressed; decompress it first")
        }
    }

    /// Where a file lies.
    ///
    /// - Parameter name: its path in the archive; links are followed.
    /// - Returns: its place; nil if there is no such file.
    /// - Throws: `ContentError` if it is not stored in one piece.
    func extent(of name: String) throws(ContentError) -> Extent? {
        var name = name
        for _ in 0...Self.linkLimit {
            switch entries[name] {
            case nil: return nil
            case .file(let extent): return extent
            case .link(let target): name = target
            case .unreadable(let cause): throw .unsupported("\(place)/\(name): \(cause)")
            }
        }
        throw .corrupt("\(place)/\(name): more than \(Self.linkLimit) links")
    }

    private func extent(
        of name: String,
        expectedSize: UInt64?
    ) throws(ContentError) -> Extent {
        guard let extent = try extent(of: name) else {
            throw ContentError(.notFound, "\(place): no file \(name) in the archive")
        }
        if let expectedSize, expectedSize != extent.size {
            throw .corrupt("\(place)/\(name): expected \(expectedSize) bytes, found \(extent.size)")
        }
        return extent
    }

    func open(_ name: String, expectedSize: UInt64?) throws(ContentError) -> AnyByteStream {
        AnyByteStream(ExtentStream(file, try extent(of: name, expectedSize: expectedSize)))
    }

    func source(_ name: String, expectedSize: UInt64) throws(ContentError) -> any BlobSource {
        ExtentSource(file: file, extent: try extent(of: name, expectedSize: expectedSize))
    }
}

/// An archive held open.
private final class ArchiveFile: Sendable {
    let path: String
    let size: UInt64
    private let descriptor: OwnedDescriptor

    init(_ path: String) throws(ContentError) {
        let file = try systemCall { () throws(SystemError) in try FileSystem.openRegular(path) }
        size = try systemCall { () throws(SystemError) in try file.status(path).size }
        descriptor = file
        self.path = path
    }

    /// Fills the buffer with the bytes at the offset.
    func read(
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let count = try systemCall { () throws(SystemError) in
            try unsafe descriptor.read(into: buffer, at: offset, path)
        }
        guard count == buffer.count else {
            throw .truncated("\(path): ends at offset \(offset &+ UInt64(count))")
        }
    }
}

/// A part of an archive, front to back.
private struct ExtentStream: ByteStream {
    private let file: ArchiveFile
    private var rest: TarFiles.Extent

    /// The part, which lies in the file.
    init(_ file: ArchiveFile, _ extent: TarFiles.Extent) {
        self.file = file
        rest = extent
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        let count = Int(min(UInt64(buffer.count), rest.size))
        guard count > 0 else { return 0 }
        try unsafe file.read(
            at: rest.offset,
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        )
        rest.offset += UInt64(count)
        rest.size -= UInt64(count)
        return count
    }
}

/// A part of an archive by ranges.
private struct ExtentSource: BlobSource {
    let file: ArchiveFile
    let extent: TarFiles.Extent

    var size: UInt64 { extent.size }

    var place: String { file.path }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        guard offset.bytes <= size, UInt64(buffer.count) <= size - offset.bytes else {
            throw .truncated(
                "\(file.path): \(buffer.count) bytes at offset \(offset), the blob has \(size)"
            )
        }
        try unsafe file.read(at: extent.offset + offset.bytes, into: buffer)
    }
}
