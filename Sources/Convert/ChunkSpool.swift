// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Linux
import RAFS

/// A layer's chunks on their way to a blob that does not begin with the first of them.
///
/// Which chunks a prefetch list means is known only when the whole layer has been read: its tree
/// tells. Until then they are kept, compressed, in a file without a name.
struct ChunkSpool: ChunkOutput {
    /// A chunk in the file.
    private struct Record {
        var digest: Digest
        var offset: UInt64
        var storedSize: UInt32
        var contentSize: UInt32
    }

    private let file: SpoolFile
    private var records: [Record] = []
    private var end: UInt64 = 0

    /// A spool without chunks.
    ///
    /// - Parameter directory: where its space is taken.
    /// - Throws: `SystemError` if nothing can be made there.
    init(in directory: String) throws(SystemError) {
        file = try SpoolFile(in: directory)
    }

    mutating func append(
        stored: RawSpan,
        digest: Digest,
        contentSize: UInt32
    ) throws(ContentError) -> UInt32 {
        guard let index = UInt32(exactly: records.count) else {
            throw ContentError(.limitExceeded, "more than 2^32 chunks in a layer")
        }
        try file.write(stored, at: end)
        records.append(
            Record(
                digest: digest,
                offset: end,
                storedSize: UInt32(stored.byteCount),
                contentSize: contentSize
            )
        )
        end += UInt64(stored.byteCount)
        return index
    }

    /// Writes all chunks to a blob.
    ///
    /// - Parameters:
    ///   - first: the chunks that come first, in this order, each once; the others follow in the
    ///     order in which they were taken.
    ///   - writer: the blob.
    /// - Returns: the chunks' indexes in the blob, by their index here.
    /// - Throws: `ContentError` if the file cannot be read or the blob not be written.
    func write(
        first: [UInt32],
        to writer: inout BlobWriter<some ByteSink>
    ) throws(ContentError) -> [UInt32] {
        var indexes = [UInt32?](repeating: nil, count: records.count)
        var buffer: [UInt8] = []
        for index in first {
            indexes[Int(index)] = try write(records[Int(index)], to: &writer, &buffer)
        }
        var result: [UInt32] = []
        result.reserveCapacity(records.count)
        for (index, record) in records.enumerated() {
            if let written = indexes[index] {
                result.append(written)
            } else {
                result.append(try write(record, to: &writer, &buffer))
            }
        }
        return result
    }

    private func write(
        _ record: Record,
        to writer: inout BlobWriter<some ByteSink>,
        _ buffer: inout [UInt8]
    ) throws(ContentError) -> UInt32 {
        let count = Int(record.storedSize)
        if buffer.count < count {
            buffer = [UInt8](repeating: 0, count: count)
        }
        try file.read(into: &buffer, count: count, at: record.offset)
        return try writer.append(
            stored: buffer.rawSpan.extracting(0..<count),
            digest: record.digest,
            contentSize: record.contentSize
        )
    }
}

/// The file of a spool, which a copyable value can hold.
private final class SpoolFile {
    private let file: OwnedDescriptor
    private let name: String

    init(in directory: String) throws(SystemError) {
        file = try FileSystem.unnamedFile(in: directory)
        name = "a spool file in \(directory)"
    }

    func write(_ bytes: RawSpan, at offset: UInt64) throws(ContentError) {
        do throws(SystemError) {
            try file.write(bytes, at: offset, name)
        } catch {
            throw ContentError(error)
        }
    }

    func read(into buffer: inout [UInt8], count: Int, at offset: UInt64) throws(ContentError) {
        let read: Int
        do throws(SystemError) {
            var span = buffer.mutableSpan
            read = try unsafe span.withUnsafeMutableBytes { (bytes) throws(SystemError) in
                try unsafe file.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]),
                    at: offset,
                    name
                )
            }
        } catch {
            throw ContentError(error)
        }
        guard read == count else {
            throw ContentError(.inputOutput, "\(name) ends at offset \(offset + UInt64(read))")
        }
    }
}
