// SPDX-License-Identifier: Apache-2.0

package import Compression
package import Content
package import OCI

/// A layer's tar: stored bytes decompressed, both verified.
///
/// The blob's digest and size and the tar's diffID are compared at their ends, so whoever reads
/// until a read gives 0 (`TarReader.finish` does) has seen every byte checked. Nothing that came
/// from the stream may be made permanent before.
package struct LayerStream: ~Copyable, ByteStream {
    private var content: VerifyingStream<AnyByteStream>
    private let object: String
    /// How the layer is compressed.
    package let compression: LayerCompression

    /// The tar of a layer.
    ///
    /// The bytes decide how they are compressed, as in containerd: media types of real images
    /// are wrong now and then.
    ///
    /// - Parameters:
    ///   - stored: the layer's blob as it is stored.
    ///   - layer: names the blob.
    ///   - diffID: the digest of the tar, from the image's configuration.
    ///   - progress: counts stored bytes as they are read.
    ///   - checkpoints: sees a gzip layer pass.
    ///   - frames: sees a zstd layer pass.
    /// - Throws: `ContentError` if the layer is no tar, or its first bytes cannot be read.
    package init(
        _ stored: consuming AnyByteStream,
        layer: Descriptor,
        diffID: Digest,
        progress: ByteCounter? = nil,
        checkpoints: CheckpointBuilder? = nil,
        frames: FrameList? = nil
    ) throws(ContentError) {
        let object = "layer \(layer.digest)"
        self.object = object
        do throws(ContentError) {
            guard try LayerMediaType(layer.mediaType) != .nydusBlob else {
                throw .unsupported("a RAFS data blob holds no tar")
            }
        } catch {
            throw error.at(object)
        }
        let verified = VerifyingStream(
            stored,
            digest: layer.digest,
            size: layer.size,
            object: object,
            progress: progress
        )
        var buffered = BufferedStream(verified)
        _ = try buffered.fill(atLeast: 4)
        let decoded: AnyByteStream
        compression = LayerCompression(magicOf: buffered.buffered)
        switch compression {
        case .none: decoded = AnyByteStream(buffered)
        case .gzip:
            if let checkpoints {
                decoded = AnyByteStream(CheckpointStream(buffered, checkpoints))
            } else {
                decoded = AnyByteStream(GzipDecoder(buffered))
            }
        case .zstd: decoded = AnyByteStream(ZstdDecoder(buffered, frames: frames))
        }
        content = VerifyingStream(
            decoded,
            digest: diffID,
            size: nil,
            object: "\(object): uncompressed"
        )
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        do throws(ContentError) {
            return try unsafe content.read(into: buffer)
        } catch {
            throw error.message.hasPrefix(object) ? error : error.at(object)
        }
    }
}
