// SPDX-License-Identifier: Apache-2.0

import Linux

/// A file of the cache: what is done with it, and nothing else, so that tests can record it and
/// make it fail.
protocol CacheStorage: Sendable {
    /// Reads from the offset.
    ///
    /// - Returns: how many bytes were read; fewer than asked only at the end of the file.
    /// - Throws: `SystemError`.
    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64
    ) throws(SystemError) -> Int

    /// Writes all bytes at the offset.
    ///
    /// - Throws: `SystemError`; part may have been written.
    func write(_ bytes: RawSpan, at offset: UInt64) throws(SystemError)

    /// Makes what was written safe on storage.
    ///
    /// - Throws: `SystemError`; anything written since the last time may be lost.
    func synchronize() throws(SystemError)
}

/// A file of the file system.
final class FileStorage: CacheStorage {
    private let descriptor: OwnedDescriptor
    private let path: String

    init(_ descriptor: consuming OwnedDescriptor, _ path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64
    ) throws(SystemError) -> Int {
        try unsafe descriptor.read(into: buffer, at: offset, path)
    }

    func write(_ bytes: RawSpan, at offset: UInt64) throws(SystemError) {
        try descriptor.write(bytes, at: offset, path)
    }

    func synchronize() throws(SystemError) {
        try descriptor.synchronizeData(path)
    }
}
