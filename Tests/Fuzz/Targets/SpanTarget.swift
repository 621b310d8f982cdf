// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport

/// Spans of gzip layers: hostile ones, and those that we choose ourselves.
enum SpanTarget {
    /// The first byte says which.
    static func run(_ bytes: [UInt8]) {
        guard let first = bytes.first else { return }
        if first & 1 == 0 {
            decodeAnything(Array(bytes.dropFirst()))
        } else {
            indexAndDecode(Array(bytes.dropFirst()))
        }
    }

    /// A checkpoint, a window and a span, none of them right but by chance: an error, or as many
    /// bytes as were asked for.
    private static func decodeAnything(_ bytes: [UInt8]) {
        guard bytes.count >= 6 else { return }
        let checkpoint = Checkpoint(bitCount: Int(bytes[0] & 15), byte: bytes[1])
        let windowSize = Int(bytes[2]) << 8 | Int(bytes[3])
        let count = Int(bytes[4]) << 8 | Int(bytes[5])
        let window = (0..<windowSize).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        _ = decode(Array(bytes.dropFirst(6)), checkpoint, window, count)
    }

    private static func decode(
        _ stored: [UInt8],
        _ checkpoint: Checkpoint,
        _ window: [UInt8],
        _ count: Int
    ) -> [UInt8]? {
        // As long as it must be and no longer, so that the sanitizer sees the first byte too many.
        var memory = [UInt8](repeating: 0, count: SpanDecoder.contentOffset + count)
        do {
            try unsafe memory.withUnsafeMutableBytes { memory in
                try unsafe stored.withUnsafeBytes { stored in
                    try unsafe SpanDecoder().decode(
                        stored,
                        from: checkpoint,
                        window: window.rawSpan,
                        into: memory
                    )
                }
            }
            return Array(memory[SpanDecoder.contentOffset...])
        } catch {
            return nil
        }
    }

    /// A gzip file of two members, read piece by piece: all spans give their content, from what is
    /// kept of their windows.
    private static func indexAndDecode(_ bytes: [UInt8]) {
        guard bytes.count >= 8 else { return }
        var parameters = Zlib.Parameters()
        parameters.level = Int32(bytes[0] % 10)
        parameters.strategy = Int32(bytes[1] % 5)
        parameters.memoryLevel = 1 + Int32(bytes[2] % 9)
        parameters.flush = [0, 1, 2, 3, 5][Int(bytes[3] % 5)]
        parameters.pieceSize = bytes[4] == 0 ? .max : Int(bytes[4]) * 97
        var generator = SeededGenerator(seed: UInt64(bytes[5]))
        let spanSize = UInt64(bytes[6]) * 700
        let content = ContentProgram.content(of: bytes.dropFirst(8))
        let cut = content.count * Int(bytes[7]) / 256
        let stored =
            Zlib.deflate(Array(content[..<cut]), .gzip, parameters)
            + Zlib.deflate(Array(content[cut...]), .gzip, parameters)
        let builder = CheckpointBuilder(spanSize: spanSize)
        let stream = CheckpointStream(TrickleStream(stored, piece: 3000), builder)
        var input = BufferedStream(stream, capacity: InflateRun.size(using: &generator))
        var position = 0
        while position < content.count {
            let left = content.count - position
            let size = min(Int.random(in: 1...9000, using: &generator), left)
            builder.add(pieceAt: UncompressedOffset(UInt64(position)), size: size)
            read(size, &input)
            position += size
        }
        read(1, &input)
        for span in builder.finish() {
            let range = Int(span.content.lowerBound)..<Int(span.content.upperBound)
            let part = Array(stored[Int(span.stored.lowerBound)..<Int(span.stored.upperBound)])
            let decoded = decode(part, span.checkpoint, span.window, range.count)
            require(decoded == Array(content[range]), "other content of \(range)")
        }
    }

    private static func read(
        _ count: Int,
        _ input: inout BufferedStream<CheckpointStream<TrickleStream>>
    ) {
        var bytes = [UInt8](repeating: 0, count: count)
        let done = unsafe bytes.withUnsafeMutableBytes { bytes in
            try? unsafe input.readFully(into: bytes)
        }
        require(done != nil, "a good file that cannot be read")
    }
}
