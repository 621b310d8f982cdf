// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport

/// What a data blob says of itself: table of contents, chunk-info table, chunk digests.
enum BlobTarget {
    static func run(_ bytes: [UInt8]) {
        tableOfContents(bytes)
        if bytes.count >= 512 {
            let header = TarBlocks.checksummed(Array(bytes.suffix(512)))
            tableOfContents(bytes.dropLast(512) + header)
        }
        if bytes.count >= ChunkInfoTable.headerSize,
            let table = try? ChunkInfoTable(
                header: bytes.rawSpan.extracting(last: ChunkInfoTable.headerSize)
            )
        {
            chunks(of: table, bytes)
        }
        if let table = try? ChunkInfoTable(file: bytes.rawSpan) { chunks(of: table, bytes) }
    }

    private static func tableOfContents(_ bytes: [UInt8]) {
        let tail = Array(bytes.suffix(BlobTOC.maximumTailSize))
        for size in [UInt64(bytes.count), 0, 1 << 40, .max] {
            guard let toc = try? BlobTOC(tail: tail.rawSpan, blobSize: size) else { continue }
            for entry in toc.entries {
                require(entry.compressedSize <= size, "a part larger than its blob")
                _ = toc.entry(named: entry.name)
            }
        }
    }

    private static func chunks(of table: ChunkInfoTable, _ bytes: [UInt8]) {
        let few = [0, 1, 2, 3, 254, 255, 256, table.count - 1, table.count, -1, .max]
        for index in few {
            let chunk = try? table.chunk(
                at: index,
                table: bytes.rawSpan,
                digests: bytes.rawSpan
            )
            guard let chunk else { continue }
            require(index < table.count, "chunk \(index) of \(table.count)")
            require(chunk.compressedSize > 0 && chunk.uncompressedSize > 0, "an empty chunk")
            require(chunk.uncompressedOffset.bytes % 4096 == 0, "a chunk between two blocks")
            require(chunk.isPlausible(maximumSize: 1 << 24), "a chunk outside of its unit")
        }
        for index: UInt32 in [0, 1, 2, 254, .max] {
            try? table.withCheckpoint(index, in: bytes.rawSpan) { checkpoint, window in
                require(0...7 ~= checkpoint.bitCount, "\(checkpoint.bitCount) bits of a byte")
                require(window.byteCount <= Checkpoint.windowSize, "a window too large")
            }
        }
    }
}
