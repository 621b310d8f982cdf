// SPDX-License-Identifier: Apache-2.0

package import Content

/// The content of a gzip layer, with a builder that is told of all places where spans may begin.
package struct CheckpointStream<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var decoder: GzipDecoder<TappedStream<Source>>
    private let builder: CheckpointBuilder

    /// The content of the stored bytes.
    ///
    /// - Parameters:
    ///   - source: a whole gzip file.
    ///   - builder: sees it pass.
    package init(_ source: consuming Source, _ builder: CheckpointBuilder) {
        decoder = GzipDecoder(TappedStream(source, builder))
        self.builder = builder
    }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        guard buffer.count > 0 else { return 0 }
        while true {
            let count = try unsafe decoder.readBlock(into: buffer)
            let boundary = decoder.boundary
            if decoder.isDrained {
                builder.note(
                    content: decoder.uncompressedOffset,
                    stored: decoder.compressedOffset,
                    boundary: boundary,
                    window: { decoder.history }
                )
            }
            if count > 0 || boundary == nil { return count }
        }
    }
}

/// Shows bytes to a builder as they pass.
struct TappedStream<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private var source: Source
    private let builder: CheckpointBuilder

    init(_ source: consuming Source, _ builder: CheckpointBuilder) {
        self.source = source
        self.builder = builder
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        let count = try unsafe source.read(into: buffer)
        unsafe builder.take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        return count
    }
}
