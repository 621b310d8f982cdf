// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
package import OCI
import Tar

/// Writes an image into a tar archive of an OCI layout.
///
/// Blobs are named by digests that are known only at their ends, and several come at once: so a
/// layout is gathered in a directory beside the archive, which needs the image's size a second
/// time. When the image is tagged, the archive is written and renamed into its place. The same
/// image gives the same bytes: entries are sorted and bear no time.
package final class OCIArchiveWriter: ImageDestination {
    package let name: String
    private let file: String
    private let scratch: ScratchDirectory
    private let layout: OCILayout

    /// An archive that will be at the path; one that is there is replaced in the end.
    ///
    /// - Parameters:
    ///   - file: the path.
    ///   - tag: the image's tag, for messages.
    /// - Throws: `ContentError` if something is there that is no regular file: renaming would put
    ///   the archive in the place of a device or a pipe; `SystemError` if nothing can be
    ///   made beside it.
    package init(file: String, tag: String?) throws {
        if let there = try? FileStatus(path: file), !there.isRegular {
            throw ContentError.unsupported(
                "\(file): it is there, but no regular file; an archive only replaces such a file"
            )
        }
        self.file = file
        name = ImageName.archive(file: file, tag: tag).description
        scratch = try ScratchDirectory(beside: file)
        layout = OCILayout(directory: scratch.path, tag: nil)
    }

    package func makeBlob() throws -> any BlobUpload { try layout.makeBlob() }

    package func hasBlob(_ blob: Descriptor) throws -> Bool { layout.hasBlob(blob) }

    package func put(
        manifest: [UInt8],
        mediaType: MediaType,
        tag: String?
    ) throws -> Descriptor {
        let descriptor = try layout.put(manifest: manifest, mediaType: mediaType, tag: tag)
        if tag != nil { try pack() }
        return descriptor
    }

    private func pack() throws {
        let archive = "\(scratch.path)/archive.tar"
        var writer = TarWriter(
            FileSink(file: try FileSystem.openOrCreate(archive), path: archive)
        )
        try add("oci-layout", to: &writer)
        try add("index.json", to: &writer)
        try writer.addDirectory("blobs")
        try writer.addDirectory("blobs/sha256")
        for blob in try FileSystem.names(inDirectory: layout.blobDirectory).sorted() {
            try add("blobs/sha256/\(blob)", to: &writer)
        }
        let sink = try writer.finish()
        try sink.file.synchronizeData(archive)
        try FileSystem.rename(archive, to: file)
        try FileSystem.synchronizeDirectory(ScratchDirectory.parent(of: file))
    }

    private func add(_ name: String, to writer: inout TarWriter<FileSink>) throws {
        let path = "\(layout.directory)/\(name)"
        var stream = try FileStream(path)
        try writer.addFile(name, size: try FileStatus(path: path).size, from: &stream)
    }
}

/// Appends to a file.
private struct FileSink: ~Copyable, ByteSink {
    let file: OwnedDescriptor
    let path: String

    mutating func write(_ bytes: RawSpan) throws(ContentError) {
        try systemCall { () throws(SystemError) in try file.write(bytes, path) }
    }
}

/// A directory for what becomes a file beside it; it goes away with its owner.
///
/// A lock inside tells it from what a dead writer left, which the next one clears away.
private final class ScratchDirectory: Sendable {
    let path: String
    private let lock: OwnedDescriptor

    private static let suffix = ".tmp"

    init(beside file: String) throws(SystemError) {
        let prefix = "\(file).lazypull-"
        path = "\(prefix)\(CurrentProcess.id)\(Self.suffix)"
        Self.removeAbandoned(prefix)
        try FileSystem.makeDirectories(path)
        let lockPath = "\(path)/lock"
        lock = try FileSystem.openOrCreate(lockPath)
        try lock.lock(lockPath)
    }

    deinit {
        Self.remove(path)
    }

    /// The directory a file is in.
    static func parent(of file: String) -> String {
        guard let slash = file.lastIndex(of: "/") else { return "." }
        return slash == file.startIndex ? "/" : String(file[..<slash])
    }

    private static func removeAbandoned(_ prefix: String) {
        let directory = parent(of: prefix)
        let name = prefix.split(separator: "/").last.map(String.init) ?? prefix
        for found in (try? FileSystem.names(inDirectory: directory)) ?? []
        where found.hasPrefix(name) && found.hasSuffix(suffix) {
            let path = "\(directory)/\(found)"
            guard let lock = try? FileSystem.openForUpdate("\(path)/lock"),
                (try? lock.tryLock(path)) == true
            else { continue }
            remove(path)
        }
    }

    /// Removes what a layout and this file have in a directory; a failure leaves it.
    private static func remove(_ path: String) {
        for directory in ["\(path)/blobs/sha256", "\(path)/blobs", path] {
            for name in (try? FileSystem.names(inDirectory: directory)) ?? [] {
                try? FileSystem.removeFile("\(directory)/\(name)")
            }
            try? FileSystem.removeDirectory(directory)
        }
    }
}
