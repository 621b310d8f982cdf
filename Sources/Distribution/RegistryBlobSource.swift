// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import Linux
import Log
import OCI
import Synchronization

/// A blob of a registry by ranges.
///
/// Where the registry knows none, a reader without a cache gets them from a file without a name;
/// one with a cache has the blob pass through that.
final class RegistryBlobSource: BlobSource {
    let size: UInt64
    private let client: RegistryClient
    private let blob: Descriptor
    /// What came of a blob whose registry knows no ranges; nil while it seems to.
    private let spool = Mutex<BlobSpool?>(nil)

    init(_ client: RegistryClient, _ blob: Descriptor) {
        self.client = client
        self.blob = blob
        size = blob.size
    }

    var place: String { client.place }

    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        if let spool = spool.withLock({ $0 }) {
            try check(offset, buffer.count)
            return try unsafe spool.read(at: offset.bytes, into: buffer)
        }
        guard try unsafe fetchRange(at: offset, into: buffer) == nil else { return }
        client.access.log.warning(
            "registry sends no ranges, the blob is fetched whole",
            ["registry": client.registry, "repository": client.repository, "blob": blob.digest]
        )
        let spool = try self.spool.withLock { (spool) throws(ContentError) -> BlobSpool in
            if let spool { return spool }
            let made = try BlobSpool(client, blob)
            spool = made
            return made
        }
        try unsafe spool.read(at: offset.bytes, into: buffer)
    }

    func fetchRange(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? {
        try check(offset, buffer.count)
        guard buffer.count > 0 else { return BlobServers() }
        let parts = RangeParts(count: buffer.count)
        guard parts.count > 1 else {
            return try unsafe client.fetch(blob, at: offset.bytes, into: buffer)
        }
        return try unsafe fetch(parts, at: offset.bytes, into: buffer)
    }

    /// Fetches the parts of a large range at once, in as many requests: one connection is slower
    /// than most links, and than most storage behind registries.
    private func fetch(
        _ parts: RangeParts,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? {
        let target = unsafe SharedBuffer(bytes: buffer)
        let (client, blob) = (client, blob)
        let found: [BlobServers?]
        do {
            found = try inParallel(parts.count, threads: parts.count, name: "range") { index in
                let range = parts[index]
                let part = unsafe UnsafeMutableRawBufferPointer(rebasing: target.bytes[range])
                let start = offset + UInt64(range.lowerBound)
                return try unsafe client.fetch(blob, at: start, into: part)
            }
        } catch let error as ContentError {
            throw error
        } catch {
            throw ContentError(.inputOutput, "\(error)")
        }
        var servers = BlobServers()
        for part in found {
            guard let part else { return nil }
            for number in part.numbers { servers.insert(number) }
        }
        return servers
    }

    /// Where the parts of a range go, each to its own place.
    @safe
    private struct SharedBuffer: @unchecked Sendable {
        // @unchecked: each thread writes to a part of its own, and all are waited for.
        let bytes: UnsafeMutableRawBufferPointer
    }

    func openWhole() throws(ContentError) -> any WholeBlob {
        try BlobReader(client, blob, policy: client.access.reads)
    }

    func distrust(_ servers: BlobServers, because cause: ContentError) -> Bool {
        client.distrust(servers, blob.digest, because: cause)
    }

    private func check(_ offset: CompressedOffset, _ count: Int) throws(ContentError) {
        guard offset.bytes <= size, UInt64(count) <= size - offset.bytes else {
            throw .truncated(
                "blob \(blob.digest): \(count) bytes at offset \(offset), it has \(size)"
            )
        }
    }
}

/// How a large range is cut into parts of about the same size.
struct RangeParts {
    /// How many there are; 1 for a range that is not large.
    let count: Int
    private let byteCount: Int

    /// Ranges of fewer bytes stay whole: what is read ahead comes in several requests as it is.
    private static let least = 2 << 20
    /// The least that is worth a request, in bytes.
    private static let partSize = 1 << 20
    private static let limit = 4

    /// - Parameter count: the range's bytes.
    init(count: Int) {
        byteCount = count
        self.count = count < Self.least ? 1 : min(Self.limit, count / Self.partSize)
    }

    /// Which bytes of the range a part has.
    subscript(_ index: Int) -> Range<Int> {
        (byteCount * index / count)..<(byteCount * (index + 1) / count)
    }
}

/// A blob on its way into a file without a name: what has passed is never asked for again.
///
/// The file is in `$TMPDIR`, else in /var/tmp, and is gone with the process.
private final class BlobSpool: Sendable {
    private struct Filling {
        var reader: BlobReader
    }

    private let file: OwnedDescriptor
    private let path: String
    private let filling: Mutex<Filling>
    /// How many bytes are in the file.
    private let available = Atomic<UInt64>(0)

    /// How much is read at once, in bytes.
    private static let step = 1 << 20

    init(_ client: RegistryClient, _ blob: Descriptor) throws(ContentError) {
        let directory = CurrentProcess.environment("TMPDIR") ?? "/var/tmp"
        path = directory
        file = try systemCall { () throws(SystemError) in
            try FileSystem.unnamedFile(in: directory)
        }
        filling = Mutex(Filling(reader: try BlobReader(client, blob)))
    }

    func read(
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let end = offset + UInt64(buffer.count)
        while available.load(ordering: .acquiring) < end { try fill(upTo: end) }
        let count = try systemCall { () throws(SystemError) in
            try unsafe file.read(into: buffer, at: offset, path)
        }
        guard count == buffer.count else { throw .truncated("\(path): ends too early") }
    }

    /// Takes one more piece, unless somebody else has done so.
    private func fill(upTo end: UInt64) throws(ContentError) {
        try filling.withLock { (filling) throws(ContentError) in
            guard available.load(ordering: .acquiring) < end else { return }
            let memory = try systemCall { () throws(SystemError) in
                try AnonymousMemory(byteCount: Self.step)
            }
            let count = try unsafe filling.reader.read(into: memory.bytes)
            guard count > 0 else { throw .truncated("the blob ends too early") }
            try systemCall { () throws(SystemError) in
                try file.write(
                    unsafe RawSpan(
                        _unsafeBytes: UnsafeRawBufferPointer(rebasing: memory.bytes[..<count])
                    ),
                    path
                )
            }
            available.wrappingAdd(UInt64(count), ordering: .releasing)
        }
    }
}
