// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import Tar
import TestSupport

/// Tar archives: entries, their contents, and the tree they make.
enum TarTarget {
    static func run(_ bytes: [UInt8]) {
        read(ArrayStream(bytes))
        let repaired = withChecksums(bytes)
        read(ArrayStream(repaired))
        // Reads that end anywhere must not change what is read.
        let piece = 1 + Int(bytes.last ?? 0)
        let whole = outcome(ArrayStream(repaired))
        let pieces = outcome(TrickleStream(repaired, piece: piece))
        require(whole == pieces, "in pieces of \(piece): \(pieces), at once: \(whole)")
    }

    /// Entry by entry, reading some contents and skipping others.
    private static func read(_ source: ArrayStream) {
        var reader = TarReader(source)
        var count = 0
        do throws(ContentError) {
            while let entry = try reader.next() {
                count += 1
                if count % 3 == 0 { continue }
                var size: UInt64 = 0
                try unsafe drain { (buffer) throws(ContentError) in
                    let count = try unsafe reader.readContent(into: buffer)
                    size += UInt64(count)
                    return count
                }
                require(size == entry.size, "\(size) bytes of an entry of \(entry.size)")
            }
            try reader.finish()
        } catch {
            require(!error.message.isEmpty, "an error without a message")
        }
    }

    /// The tree's shape or the error, as text.
    private static func outcome(_ source: some ByteStream) -> String {
        var sink = DiscardingSink()
        let reader = LayerReader(limits: limits) { $0.name.count < 100 }
        do throws(ContentError) {
            let layer = try reader.read(source, into: &sink)
            var paths: [String] = []
            layer.tree.walkBreadthFirst { paths.append("\($0.name) \(layer.tree[$0.node].type)") }
            return "\(paths) \(layer.warnings) \(sink.byteCount)"
        } catch {
            return error.message
        }
    }

    private static let limits = LayerLimits(entries: 10_000, depth: 64, metadataBytes: 1 << 20)

    /// The archive with the checksums that its headers should have: no mutation finds those.
    private static func withChecksums(_ archive: [UInt8]) -> [UInt8] {
        var bytes = archive
        var position = 0
        while position + 512 <= bytes.count {
            let block = Array(bytes[position..<position + 512])
            guard block.contains(where: { $0 != 0 }) else { break }
            bytes.replaceSubrange(position..<position + 512, with: TarBlocks.checksummed(block))
            let digits = block[124..<135].prefix { (0x30...0x37).contains($0) }
            let size = digits.reduce(0) { $0 << 3 | Int($1 - 0x30) }
            position += 512 + (size + 511) / 512 * 512
        }
        return bytes
    }
}

/// Reads until there is no more.
func drain(
    limit: Int = .max,
    bufferSize: Int = 4096,
    _ read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
) throws(ContentError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferSize, alignment: 1)
    defer { unsafe buffer.deallocate() }
    var done = 0
    while done < limit {
        let count = try unsafe read(buffer)
        require(count >= 0 && count <= bufferSize, "\(count) bytes read into \(bufferSize)")
        guard count > 0 else { return }
        done += count
    }
}

/// Reads contents and forgets them.
private struct DiscardingSink: LayerContentSink {
    var byteCount: UInt64 = 0

    mutating func takeFile(
        size: UInt64,
        read: (UnsafeMutableRawBufferPointer) throws(ContentError) -> Int
    ) throws(ContentError) -> [ChunkAddress] {
        var count: UInt64 = 0
        try unsafe drain { (buffer) throws(ContentError) in
            let read = try unsafe read(buffer)
            count += UInt64(read)
            return read
        }
        require(count == size, "\(count) bytes of a file of \(size)")
        byteCount += count
        return []
    }
}
