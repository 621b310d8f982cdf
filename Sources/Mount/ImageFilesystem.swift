// SPDX-License-Identifier: Apache-2.0

import ChunkCache
import Content
import FUSE
import Glibc
import Log
import RAFS

/// An image as a file system: node numbers are nids, answers come straight from the mapped tree.
///
/// No file has an object of its own, and nothing is allocated for a read whose chunks are here.
final class ImageFilesystem: FuseFilesystem {
    let image: OpenImage
    private let cache: ChunkCache
    private let log: Logger
    let rootNode: UInt64
    let hasXattrs: Bool

    /// An image's file system.
    ///
    /// - Parameters:
    ///   - image: the image.
    ///   - cache: fetches its chunks.
    ///   - refusesAbsentXattrs: see `MountOptions`.
    ///   - log: takes the true causes of requests that fail.
    /// - Throws: `ContentError` if its root is no directory.
    init(
        _ image: OpenImage,
        _ cache: ChunkCache,
        refusesAbsentXattrs: Bool = true,
        _ log: Logger
    ) throws(ContentError) {
        self.image = image
        self.cache = cache
        self.log = log
        rootNode = try image.tree.read { tree throws(ContentError) in try tree.root().nid }
        hasXattrs = image.tree.layout.hasXattrs || !refusesAbsentXattrs
    }

    func lookup(_ name: RawSpan, in directory: UInt64) throws(FuseFailure) -> FuseAttributes? {
        do throws(ContentError) {
            return try image.tree.read { tree throws(ContentError) in
                let parent = try tree.inode(directory)
                guard let nid = try tree.lookup(name, in: parent) else { return nil }
                return Self.attributes(of: try tree.inode(nid))
            }
        } catch {
            throw failure("lookup", directory, error)
        }
    }

    func attributes(of node: UInt64) throws(FuseFailure) -> FuseAttributes {
        do throws(ContentError) {
            return try image.tree.read { tree throws(ContentError) in
                Self.attributes(of: try tree.inode(node))
            }
        } catch {
            throw failure("attributes", node, error)
        }
    }

    private static func attributes(of inode: Inode) -> FuseAttributes {
        let attributes = inode.attributes
        return FuseAttributes(
            node: inode.nid,
            mode: UInt32(inode.type.modeBits | attributes.permissions),
            linkCount: inode.linkCount,
            userID: attributes.userID,
            groupID: attributes.groupID,
            device: inode.type.isDevice ? inode.device.encoded ?? 0 : 0,
            size: inode.size,
            modificationSeconds: attributes.modificationSeconds,
            modificationNanoseconds: attributes.modificationNanoseconds
        )
    }

    func readSymlink(_ node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure) {
        do throws(ContentError) {
            try image.tree.read { tree throws(ContentError) in
                reply.append(try tree.symlinkTarget(of: tree.inode(node)))
            }
        } catch {
            throw failure("readlink", node, error)
        }
    }

    func readDirectory(
        _ node: UInt64,
        from position: UInt64,
        into reply: inout DirectoryBuffer
    ) throws(FuseFailure) {
        do throws(ContentError) {
            try image.tree.read { tree throws(ContentError) in
                let directory = try tree.inode(node)
                try tree.forEachEntry(of: directory, from: position) { entry throws(ContentError) in
                    let nid = entry.nid
                    return reply.add(
                        entry.name,
                        node: nid,
                        typeBits: UInt32(entry.type?.modeBits ?? 0),
                        position: entry.nextPosition,
                        attributes: { try? self.attributes(of: nid) }
                    )
                }
            }
        } catch {
            throw failure("readdir", node, error)
        }
    }

    func statistics() -> FuseStatistics {
        FuseStatistics(size: image.viewBytes, fileCount: image.tree.layout.inodeCount)
    }

    /// Logs why a request fails.
    func failure(
        _ request: String,
        _ node: UInt64,
        _ error: ContentError
    ) -> FuseFailure {
        log.error("request failed", ["request": request, "node": node, "cause": error])
        return .inputOutput
    }
}

/// Reads.
extension ImageFilesystem {
    private enum ReadOutcome {
        case complete(Int)
        case missing(Inode)
        case failed(FuseFailure)
    }

    func read(
        _ node: UInt64,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer,
        answering request: consuming FuseRequest
    ) {
        let watch = request.watch
        switch unsafe readPresent(node, offset, buffer, watch) {
        case .complete(let count):
            cache.countHit()
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
            request.reply(unsafe RawSpan(_unsafeBytes: bytes))
        case .missing(let inode):
            // The cache's locks, and a chunk that has come meanwhile, are waited for.
            watch.beginWait()
            fetch(inode, offset, buffer.count, request)
            watch.endWait()
        case .failed(let failure):
            request.reply(failure)
        }
    }

    /// Reads what is here; stops at the first chunk that is not.
    private func readPresent(
        _ node: UInt64,
        _ offset: UInt64,
        _ buffer: UnsafeMutableRawBufferPointer,
        _ watch: SessionWatch
    ) -> ReadOutcome {
        var isWaiting = false
        defer { if isWaiting { watch.endWait() } }
        do throws(ContentError) {
            return try image.tree.read { tree throws(ContentError) in
                let inode = try tree.inode(node)
                guard inode.type == .regular else { return .failed(.invalid) }
                var done = 0
                var isComplete = true
                try tree.forEachSlice(of: inode, offset: offset, count: UInt64(buffer.count)) {
                    slice throws(ContentError) in
                    guard isComplete else { return }
                    let end = done + Int(slice.count)
                    isComplete = try unsafe image.blobs[Int(slice.chunk.blob)].readIfPresent(
                        chunk: Int(slice.chunk.index),
                        at: slice.chunkOffset,
                        from: slice.offset,
                        into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<end]),
                        onWait: {
                            if !isWaiting { watch.beginWait() }
                            isWaiting = true
                        }
                    )
                    done = end
                }
                return isComplete ? .complete(done) : .missing(inode)
            }
        } catch {
            return .failed(failure("read", node, error))
        }
    }

    /// Parks the request and has the cache fetch what it misses.
    private func fetch(
        _ inode: Inode,
        _ offset: UInt64,
        _ count: Int,
        _ request: consuming FuseRequest
    ) {
        var slices: [CachedSlice] = []
        var done = 0
        var lastChunk: Int?
        do throws(ContentError) {
            try image.tree.read { tree throws(ContentError) in
                var last: ChunkAddress?
                try tree.forEachSlice(of: inode, offset: offset, count: UInt64(count)) {
                    slice throws(ContentError) in
                    slices.append(cachedSlice(slice, at: done))
                    last = slice.chunk
                    done += Int(slice.count)
                }
                guard let last, done > 0 else { return }
                let position = (offset + UInt64(done) - 1) / UInt64(tree.layout.chunkSize)
                lastChunk = Int(try tree.lastChunk(of: inode, from: position, last))
            }
        } catch {
            return request.reply(failure("read", inode.nid, error))
        }
        guard let parked = request.park() else { return }
        cache.fetch(
            slices,
            byteCount: done,
            lastChunk: lastChunk,
            for: ParkedRead(request: parked)
        )
    }

    private func cachedSlice(_ slice: ChunkSlice, at place: Int) -> CachedSlice {
        CachedSlice(
            blob: image.blobs[Int(slice.chunk.blob)],
            chunk: Int(slice.chunk.index),
            start: slice.chunkOffset,
            offset: slice.offset,
            count: Int(slice.count),
            place: place
        )
    }

    /// A read whose answer comes from the cache's threads.
    private struct ParkedRead: ReadWaiter {
        let request: ParkedRequest

        func succeed(_ bytes: RawSpan) {
            request.take()?.reply(bytes)
        }

        func fail(_ error: ContentError) {
            request.take()?.reply(.inputOutput)
        }
    }
}

/// Extended attributes.
extension ImageFilesystem {
    func readXattr(
        _ name: RawSpan,
        of node: UInt64,
        into reply: inout ReplyBuffer
    ) throws(FuseFailure) {
        var isFound = false
        do throws(ContentError) {
            try image.tree.read { tree throws(ContentError) in
                try tree.forEachXattr(of: tree.inode(node)) {
                    prefix,
                    suffix,
                    value throws(ContentError) in
                    guard Self.isName(name, prefix.text, suffix) else { return true }
                    reply.append(value)
                    isFound = true
                    return false
                }
            }
        } catch {
            throw failure("getxattr", node, error)
        }
        if !isFound { throw .noAttribute }
    }

    func listXattrs(of node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure) {
        do throws(ContentError) {
            try image.tree.read { tree throws(ContentError) in
                try tree.forEachXattr(of: tree.inode(node)) {
                    prefix,
                    suffix,
                    _ throws(ContentError) in
                    if prefix == .trusted, Self.begins(suffix, with: "overlay.") { return true }
                    let text = prefix.text
                    let start = unsafe UnsafeRawBufferPointer(
                        start: text.utf8Start,
                        count: text.utf8CodeUnitCount
                    )
                    reply.append(unsafe RawSpan(_unsafeBytes: start))
                    reply.append(suffix)
                    reply.append(0)
                    return true
                }
            }
        } catch {
            throw failure("listxattr", node, error)
        }
    }

    /// Whether a name is the prefix and the suffix together.
    private static func isName(
        _ name: RawSpan,
        _ prefix: StaticString,
        _ suffix: RawSpan
    ) -> Bool {
        let count = prefix.utf8CodeUnitCount
        guard name.byteCount == count + suffix.byteCount, begins(name, with: prefix) else {
            return false
        }
        return unsafe name.withUnsafeBytes { name in
            unsafe suffix.withUnsafeBytes { suffix in
                guard let left = name.baseAddress, let right = suffix.baseAddress else {
                    return unsafe suffix.isEmpty
                }
                return unsafe memcmp(left + count, right, suffix.count) == 0
            }
        }
    }

    private static func begins(_ bytes: RawSpan, with text: StaticString) -> Bool {
        guard bytes.byteCount >= text.utf8CodeUnitCount else { return false }
        return unsafe bytes.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            return unsafe memcmp(start, text.utf8Start, text.utf8CodeUnitCount) == 0
        }
    }
}
