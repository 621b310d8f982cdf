// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
import Synchronization

/// Passes bytes on and compares their digest, and their number where it is known, at the end.
///
/// The end is where a read gives 0: a consumer that stops earlier has verified nothing.
package struct VerifyingStream<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var source: Source
    private var digest = StreamingDigest()
    private var count: UInt64 = 0
    private var isVerified = false
    private let expectedDigest: Digest
    private let expectedSize: UInt64?
    private let object: String
    private let progress: ByteCounter?

    /// The source's bytes, verified.
    ///
    /// - Parameters:
    ///   - source: the bytes.
    ///   - digest: their digest.
    ///   - size: their number; nil if it is not known.
    ///   - object: what they are, for the error: `layer sha256:…`.
    ///   - progress: counts the bytes as they pass.
    package init(
        _ source: consuming Source,
        digest: Digest,
        size: UInt64?,
        object: String,
        progress: ByteCounter? = nil
    ) {
        self.source = source
        expectedDigest = digest
        expectedSize = size
        self.object = object
        self.progress = progress
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard !isVerified else { return 0 }
        let read = try unsafe source.read(into: buffer)
        guard read > 0 else {
            if buffer.count > 0 { try verify() }
            return 0
        }
        count &+= UInt64(read)
        if let expectedSize, count > expectedSize {
            throw ContentError.corrupt("more than the expected \(expectedSize) bytes").at(object)
        }
        unsafe digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
        progress?.add(read)
        return read
    }

    private mutating func verify() throws(ContentError) {
        if let expectedSize, count != expectedSize {
            throw ContentError.truncated("expected \(expectedSize) bytes, found \(count)")
                .at(object)
        }
        let found = digest.finish()
        guard found == expectedDigest else {
            throw ContentError.corrupt(
                "digest mismatch: expected \(expectedDigest), found \(found)"
            ).at(object)
        }
        isVerified = true
    }
}

/// Counts bytes across threads: for progress.
package final class ByteCounter: Sendable {
    private let count = Atomic<UInt64>(0)

    /// A counter at 0.
    package init() {}

    /// How many bytes were counted so far.
    package var value: UInt64 { count.load(ordering: .relaxed) }

    /// Counts more bytes; any thread may.
    ///
    /// - Parameter bytes: their number, not negative.
    package func add(_ bytes: Int) {
        count.wrappingAdd(UInt64(max(bytes, 0)), ordering: .relaxed)
    }
}
