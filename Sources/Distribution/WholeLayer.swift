// SPDX-License-Identifier: Apache-2.0

import Compression
package import Content
import Linux
package import OCI

/// A layer of which no part can be decoded alone, by ranges of its tar.
///
/// Whoever keeps what passes has it pass once, decoded, by `openWhole`. For the others it is spooled
/// to a file without a name, as far as they ask.
package final class WholeLayer: BlobSource {
    private let layer: Descriptor
    private let source: any ImageSource
    private let spool = Monitor<Spool?>(nil)

    /// Where layers are spooled.
    private static let directory = "/var/tmp"

    /// The layer; nothing is fetched yet.
    ///
    /// - Parameters:
    ///   - layer: names it.
    ///   - source: has it.
    package init(_ layer: Descriptor, of source: any ImageSource) {
        self.layer = layer
        self.source = source
    }

    /// As much as a chunk's record can name: what the tar has is not known before it has passed.
    package var size: UInt64 { 1 << 40 }

    package var place: String { source.name }

    package func fetchRange(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> BlobServers? { nil }

    package func openWhole() throws(ContentError) -> any WholeBlob {
        try DecodedLayer(layer, of: source)
    }

    package func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        try spool.update { spool throws(ContentError) in
            if spool == nil { spool = try Spool(openWhole(), in: Self.directory) }
            try unsafe spool?.read(at: offset.bytes, into: buffer)
        }
    }
}

/// A layer's tar as it passes, verified at its end but for the diffID; read by one thread.
package final class DecodedLayer: WholeBlob {
    private var stream: AnyByteStream

    /// Opens a layer.
    ///
    /// - Parameters:
    ///   - layer: names it.
    ///   - source: has it.
    ///   - progress: counts stored bytes as they are read.
    /// - Throws: `ContentError` if it cannot be had.
    package init(
        _ layer: Descriptor,
        of source: any ImageSource,
        progress: ByteCounter? = nil
    ) throws(ContentError) {
        let stored: AnyByteStream
        do {
            stored = try source.openBlob(layer)
        } catch {
            throw error as? ContentError ?? ContentError(.inputOutput, "\(error)")
        }
        let verified = VerifyingStream(
            stored,
            digest: layer.digest,
            size: layer.size,
            object: "layer \(layer.digest)",
            progress: progress
        )
        var buffered = BufferedStream(verified)
        _ = try buffered.fill(atLeast: 4)
        switch LayerCompression(magicOf: buffered.buffered) {
        case .none: stream = AnyByteStream(buffered)
        case .gzip: stream = AnyByteStream(GzipDecoder(buffered))
        case .zstd: stream = AnyByteStream(ZstdDecoder(buffered))
        }
    }

    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        try unsafe stream.read(into: buffer)
    }

    package var servers: BlobServers { BlobServers() }
}

/// The beginning of a blob that passes, in a file; used with its owner's lock held.
private final class Spool: @unchecked Sendable {
    // @unchecked: see above.
    private let blob: any WholeBlob
    private let file: OwnedDescriptor
    private let name: String
    private let step: AnonymousMemory
    private var end: UInt64 = 0

    init(_ blob: any WholeBlob, in directory: String) throws(ContentError) {
        self.blob = blob
        name = "a spool in \(directory)"
        file = try systemCall { () throws(SystemError) in
            try FileSystem.unnamedFile(in: directory)
        }
        step = try systemCall { () throws(SystemError) in
            try AnonymousMemory(byteCount: 1 << 20)
        }
    }

    /// Reads a range, once all that comes before it has passed.
    func read(
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) {
        let (wanted, overflow) = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !overflow else { throw .corrupt("\(buffer.count) bytes at offset \(offset)") }
        while end < wanted {
            let count = try unsafe blob.read(into: step.bytes)
            guard count > 0 else { throw .truncated("the layer's content ends at byte \(end)") }
            let part = unsafe UnsafeRawBufferPointer(rebasing: step.bytes[..<count])
            try systemCall { () throws(SystemError) in
                try unsafe file.write(RawSpan(_unsafeBytes: part), at: end, name)
            }
            end += UInt64(count)
        }
        let count = try systemCall { () throws(SystemError) in
            try unsafe file.read(into: buffer, at: offset, name)
        }
        guard count == buffer.count else { throw .truncated("\(name): ends too soon") }
    }
}
