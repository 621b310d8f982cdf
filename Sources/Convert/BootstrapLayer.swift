// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import OCI
import RAFS
import Tar

/// The layer that carries the bootstrap: a gzip tar with `image/image.boot`, and every blob's
/// chunk-info table and chunk digests, so that mounting asks nothing of the data blobs.
struct BootstrapLayer {
    /// The layer as it is stored.
    let gzip: [UInt8]
    /// The digest of its tar.
    let diffID: Digest

    /// The layer of a merged image.
    ///
    /// - Parameters:
    ///   - image: the image.
    ///   - bootstrap: the image's bootstrap.
    /// - Throws: `ContentError` if the layer cannot be written.
    init(_ image: MergedImage, bootstrap: [UInt8]) throws(ContentError) {
        var writer = TarWriter(LayerSink())
        try writer.addDirectory("image")
        try writer.addFile("image/image.boot", bootstrap.rawSpan)
        // What describes other images' layers is in blobs of its own, and is not stored twice.
        for blob in image.blobs where blob.entry?.metadata == nil {
            let path = "image/\(blob.digest.hex)"
            let chunkInfo = blob.chunkInfoFile
            try writer.addFile("\(path).blob.meta", chunkInfo.rawSpan)
            let digests = blob.chunkDigests
            try writer.addFile("\(path).blob.digest", digests.rawSpan)
        }
        (gzip, diffID) = try writer.finish().finish()
    }
}

/// Compresses and digests a layer's tar as it is written: the tar itself, which may have hundreds
/// of megabytes, is never held.
private final class LayerSink: ByteSink {
    private let encoder = GzipEncoder()
    private var digest = StreamingDigest()

    func write(_ bytes: RawSpan) throws(ContentError) {
        digest.update(bytes)
        try encoder.write(bytes)
    }

    /// The stored layer, and the digest of its tar.
    func finish() throws(ContentError) -> (gzip: [UInt8], diffID: Digest) {
        (try encoder.finish(), digest.finish())
    }
}
