// SPDX-License-Identifier: Apache-2.0

/// A place to fetch ranges of one blob from: a layout, an archive, a registry.
///
/// What is fetched is not verified here; who verifies it may tell the source that it was wrong. Of
/// the two ways to fetch, `fetch` always works, and `fetchRange` is for who can keep all that passes
/// where only the whole is to be had.
package protocol BlobSource: Sendable {
    /// The blob's size as stored, in bytes.
    var size: UInt64 { get }

    /// Where it is, for messages: registry and repository, or a file's path.
    var place: String { get }

    /// Fetches the range that begins at the offset and fills the buffer.
    ///
    /// Called from several threads at once; may block.
    ///
    /// - Parameters:
    ///   - offset: the first byte wanted, in the blob as stored.
    ///   - buffer: filled whole, or an error is thrown and its content is undefined.
    /// - Throws: `ContentError` if the whole range cannot be had.
    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError)

    /// Fetches a range as `fetch` does, if ranges of the blob can be had.
    ///
    /// - Parameters:
    ///   - offset: the first byte wanted, in the blob as stored.
    ///   - buffer: filled whole, or its content is undefined.
    /// - Returns: who served it; nil if the blob can only be had whole, from `openWhole`.
    /// - Throws: `ContentError` if the whole range cannot be had.
    func fetchRange(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers?

    /// Opens the blob where ranges of it cannot be had.
    ///
    /// - Returns: the blob from its first byte.
    /// - Throws: `ContentError` if it cannot be had.
    func openWhole() throws(ContentError) -> any WholeBlob

    /// Takes note that bytes were wrong that the servers sent.
    ///
    /// - Parameters:
    ///   - servers: who served them.
    ///   - cause: what is wrong with them.
    /// - Returns: whether others will be asked from now on.
    func distrust(_ servers: BlobServers, because cause: ContentError) -> Bool
}

/// What holds where there is one place, and any range of it can be had.
extension BlobSource {
    package func fetchRange(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? {
        try unsafe fetch(at: offset, into: buffer)
        return BlobServers()
    }

    package func openWhole() throws(ContentError) -> any WholeBlob {
        throw .unsupported("a blob that is to be had by ranges")
    }

    package func distrust(_ servers: BlobServers, because cause: ContentError) -> Bool { false }
}

/// Those of a source's servers that served some bytes; which they are, the source knows.
package struct BlobServers: Sendable, Equatable {
    /// Their numbers, each once; none where there is only one place.
    package private(set) var numbers: [Int] = []

    /// None.
    package init() {}

    /// Adds a server.
    package mutating func insert(_ number: Int) {
        if !numbers.contains(number) { numbers.append(number) }
    }
}

/// A blob as it comes, front to back, read by one thread.
package protocol WholeBlob: AnyObject {
    /// Reads the next bytes.
    ///
    /// - Parameter buffer: takes the bytes from its start; not empty.
    /// - Returns: how many bytes were read; 0 only at the end.
    /// - Throws: `ContentError` if the rest cannot be had.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int

    /// Who served what was read.
    var servers: BlobServers { get }
}

extension BlobSource {
    /// Bytes in memory are nowhere that has a name.
    package var place: String { "memory" }
}

/// A blob that is in memory.
package struct MemoryBlob: BlobSource {
    private let bytes: [UInt8]

    /// The blob of the bytes.
    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    package var size: UInt64 { UInt64(bytes.count) }

    package func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        guard offset.bytes <= size, UInt64(buffer.count) <= size - offset.bytes else {
            throw .truncated("\(buffer.count) bytes at \(offset) of a blob of \(size)")
        }
        let start = Int(offset.bytes)
        unsafe buffer.copyBytes(from: bytes[start..<start + buffer.count])
    }
}
