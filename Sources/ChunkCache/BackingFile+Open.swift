// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux

/// Where a cache keeps the files of one blob.
struct BackingPaths {
    /// The blob's directory.
    var directory: String
    /// The runtime bitmap's file; nil if there is no place for one.
    var runtimeBits: String?

    var data: String { directory + "/data" }
    var durableBits: String { directory + "/bits" }
}

extension BackingFile {
    /// Opens a blob's backing file, or makes it.
    ///
    /// - Parameters:
    ///   - paths: its files.
    ///   - blob: the blob's digest.
    ///   - key: the digest of the chunk records in force.
    ///   - chunkCount: the number of chunks.
    ///   - viewSize: the size of the uncompressed view, in bytes.
    ///   - pool: keeps the descriptors.
    ///   - reader: reads the chunks' file ahead of sequential readers.
    /// - Returns: the open file.
    /// - Throws: `SystemError` if the directory does not take the files.
    static func open(
        _ paths: BackingPaths,
        blob: Digest,
        key: Digest,
        chunkCount: Int,
        viewSize: UInt64,
        pool: DescriptorPool,
        reader: StorageReader
    ) throws(SystemError) -> BackingFile {
        try FileSystem.makeDirectories(paths.directory, mode: 0o700)
        let data = try openData(paths, viewSize)
        let status = try data.status(paths.data)
        let header = BitmapHeader(
            bootID: currentBootID() ?? [],
            device: status.device,
            inode: status.inode,
            generation: data.inodeGeneration,
            chunkCount: chunkCount,
            viewSize: viewSize,
            blob: blob,
            key: key
        )
        let words = try durableWords(paths.durableBits, header.durable)
        let durable = try OwnedDescriptor.open(paths.durableBits, O_RDWR)
        let mapping = try mapRuntimeBits(paths.runtimeBits, header, words)
        return BackingFile(
            data: try FileStorage(data, paths.data, pool, reader),
            durableFile: try FileStorage(durable, paths.durableBits, pool),
            durableWords: words,
            bits: ChunkBitmap(mapping, chunkCount: chunkCount),
            runtimePath: paths.runtimeBits
        )
    }

    /// Opens the file of the chunks; one of another size is not ours and is replaced.
    private static func openData(
        _ paths: BackingPaths,
        _ viewSize: UInt64
    ) throws(SystemError) -> OwnedDescriptor {
        do {
            let file = try OwnedDescriptor.open(paths.data, O_RDWR)
            if try file.status(paths.data).size == viewSize { return file }
        } catch  where error.code == ENOENT {}
        // The bits go first, and for good: a new file of the same inode and generation (not every
        // file system has generations) must not find them.
        try FileSystem.removeFile(paths.durableBits)
        if let runtime = paths.runtimeBits { try FileSystem.removeFile(runtime) }
        try FileSystem.synchronizeDirectory(paths.directory)
        try FileSystem.removeFile(paths.data)
        let file = try OwnedDescriptor.open(paths.data, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        try file.truncate(to: viewSize, paths.data)
        try FileSystem.synchronizeDirectory(paths.directory)
        return file
    }

    /// The durable bits; a file with another header is replaced by one without bits.
    private static func durableWords(
        _ path: String,
        _ header: BitmapHeader
    ) throws(SystemError) -> [UInt64] {
        do {
            let limit = header.fileSize + 1
            if let words = header.words(of: try FileSystem.contents(of: path, limit: limit)) {
                return words
            }
        } catch  where error.code == ENOENT || error.code == EFBIG {}
        let words = [UInt64](repeating: 0, count: header.wordCount)
        let file = header.file(words: words)
        try unsafe FileSystem.replace(path, with: file.span.bytes)
        return words
    }

    /// The runtime bits as the last process left them, if they are of this boot and this file;
    /// else the durable ones.
    private static func mapRuntimeBits(
        _ path: String?,
        _ header: BitmapHeader,
        _ durableWords: [UInt64]
    ) throws(SystemError) -> SharedMapping {
        // Without a boot id nobody could tell bits of this boot from older ones.
        if let path, header.bootID.count == 16,
            let mapping = try? mapFile(path, header, durableWords)
        {
            return mapping
        }
        let mapping = try SharedMapping(byteCount: header.fileSize)
        unsafe mapping.bytes.copyBytes(from: header.file(words: durableWords))
        return mapping
    }

    private static func mapFile(
        _ path: String,
        _ header: BitmapHeader,
        _ durableWords: [UInt64]
    ) throws(SystemError) -> SharedMapping {
        let old = try? FileSystem.contents(of: path, limit: header.fileSize + 1)
        if let old, header.words(of: old) != nil {
            let file = try OwnedDescriptor.open(path, O_RDWR)
            // A sparse file on a full disk would answer a store with SIGBUS.
            try file.allocate(header.fileSize, path)
            return try SharedMapping(file, byteCount: header.fileSize, path)
        }
        // Under another name first: a file that another process may have mapped is never changed.
        let temporary = path + ".new"
        let file = try OwnedDescriptor.open(temporary, O_RDWR | O_CREAT | O_TRUNC, mode: 0o600)
        try file.allocate(header.fileSize, temporary)
        let bytes = header.file(words: durableWords)
        try unsafe file.write(bytes.span.bytes, at: 0, temporary)
        try FileSystem.rename(temporary, to: path)
        return try SharedMapping(file, byteCount: header.fileSize, path)
    }
}
