// SPDX-License-Identifier: Apache-2.0

package import Content

/// A stretch of a gzip layer that is fetched and decoded together.
package struct LayerSpan: Sendable {
    /// Where its stored bytes begin and end.
    package var stored: Range<UInt64>
    /// Where its content begins and ends in the uncompressed layer.
    package var content: Range<UInt64>
    /// Where decoding begins.
    package var checkpoint: Checkpoint
    /// The content before it, as far as the span repeats any, zeros elsewhere: 32 KiB or nothing.
    package var window: [UInt8]
    /// Where the first of the pieces of content begins for which the span is.
    package var firstPiece: UInt64
}

/// Chooses checkpoints while a gzip layer passes through its decoder.
///
/// 1. A span begins at a block boundary: the last one before the piece of content that would make
///    the span before it too long. So two spans share one block at most.
/// 2. It ends where the decoder had taken all bytes that its last piece is made of, or a little
///    later: at a boundary, or where a buffer was full.
/// 3. Its window keeps the bytes that the span repeats, and no others: they are found by decoding
///    the span's first 32 KiB, all that can reach back before it, with windows whose bytes tell
///    where they stand.
///
/// Boundaries come before their content is read, pieces as they are read: the reader may be behind
/// by what buffers hold. As much of the recent past is kept: some windows, and the stored bytes
/// since the oldest of them.
///
/// Used by one thread at a time.
package final class CheckpointBuilder: @unchecked Sendable {
    // @unchecked: handed from one thread to another, never used by two.
    private struct Place {
        var boundary: BlockBoundary
        var window: [UInt8]
    }

    /// Content up to one position is made of stored bytes up to another.
    private struct Mark {
        var content: UInt64
        var stored: UInt64
    }

    /// Boundaries closer to the one before are passed over: a window is copied for each.
    private static let spacing: UInt64 = 16 << 10
    /// How far the reader may be behind the decoder, in bytes of content.
    private static let lag: UInt64 = 1 << 20
    /// The most stored bytes that are kept for finding out what a span repeats.
    private static let probeLimit: UInt64 = 1 << 20

    private let spanSize: UInt64
    private let tail = StoredTail()
    private var places: [Place] = []
    private var marks: [Mark] = []
    private var spans: [LayerSpan] = []
    // Of the last span: where its pieces end so far, and the first mark behind, if it was there.
    private var pieceEnd: UInt64 = 0
    private var endMark: Mark?
    // A piece that was added before anything was read.
    private var waitingPiece: UInt64?
    // Spans whose end is not known yet, with the ends of their content; in order.
    private var openEnds: [Int] = []
    // Spans whose windows were not looked at yet; in order.
    private var openWindows: [Int] = []
    private let probe = WindowProbe()
    private var position: UInt64 = 0

    /// A builder for one layer.
    ///
    /// - Parameter spanSize: how much content a span is to have, in bytes; one that begins with a
    ///   longer piece or block has more.
    package init(spanSize: UInt64) {
        self.spanSize = max(spanSize, 1)
    }

    /// Assigns a piece of content that is going to be read to a span.
    ///
    /// - Parameters:
    ///   - offset: where it begins in the uncompressed layer: not before the end of the piece
    ///     before.
    ///   - size: its size, in bytes.
    package func add(pieceAt offset: UncompressedOffset, size: Int) {
        let end = offset.bytes &+ UInt64(size)
        if let last = spans.last {
            let place = places.last { $0.boundary.uncompressedOffset <= offset }
            let start = place?.boundary.uncompressedOffset.bytes ?? 0
            if end - last.content.lowerBound > spanSize, start > last.content.lowerBound, let place
            {
                close(spans.count - 1)
                begin(at: place, piece: offset.bytes)
            }
        } else if let place = places.last(where: { $0.boundary.uncompressedOffset <= offset }) {
            begin(at: place, piece: offset.bytes)
        } else if waitingPiece == nil {
            waitingPiece = offset.bytes
        }
        pieceEnd = max(pieceEnd, end)
        endMark = marks.first { $0.content >= pieceEnd }
    }

    private func begin(at place: Place, piece: UInt64) {
        let boundary = place.boundary
        let start = boundary.spanOffset.bytes
        let byte = boundary.bitCount == 0 ? 0 : tail.byte(at: start - 1) ?? 0
        spans.append(
            LayerSpan(
                stored: start..<start,
                content: boundary.uncompressedOffset.bytes..<boundary.uncompressedOffset.bytes,
                checkpoint: Checkpoint(bitCount: boundary.bitCount, byte: byte),
                window: place.window,
                firstPiece: piece
            )
        )
        if !place.window.isEmpty { openWindows.append(spans.count - 1) }
    }

    /// No further piece is of the span.
    private func close(_ index: Int) {
        let start = spans[index].content.lowerBound
        spans[index].content = start..<max(pieceEnd, start)
        if let endMark { end(index, at: endMark) } else { openEnds.append(index) }
    }

    private func end(_ index: Int, at mark: Mark) {
        let start = spans[index].stored.lowerBound
        spans[index].stored = start..<max(mark.stored, start)
    }

    /// Takes stored bytes on their way to the decoder.
    func take(_ bytes: UnsafeRawBufferPointer) {
        unsafe tail.append(bytes)
    }

    /// Takes note that all decoded content has been given out.
    ///
    /// - Parameters:
    ///   - content: its size.
    ///   - stored: how many stored bytes it is made of.
    ///   - boundary: the boundary that the decoder stands at; nil if it stands at none.
    ///   - window: gives the content before it.
    func note(
        content: UncompressedOffset,
        stored: CompressedOffset,
        boundary: BlockBoundary?,
        window: () -> [UInt8]
    ) {
        position = content.bytes
        let mark = Mark(content: content.bytes, stored: stored.bytes)
        marks.append(mark)
        while let index = openEnds.first, spans[index].content.upperBound <= mark.content {
            end(index, at: mark)
            openEnds.removeFirst()
        }
        if endMark == nil, mark.content >= pieceEnd { endMark = mark }
        if let boundary {
            let isNear = places.last.map {
                content.bytes - $0.boundary.uncompressedOffset.bytes < Self.spacing
            }
            // The first of a member needs no window, whatever stood before it.
            let isMember = boundary.member == BlockBoundary.Member(checksum: 0, size: 0)
            if isNear != true || isMember {
                places.append(Place(boundary: boundary, window: isMember ? [] : window()))
            }
        }
        if let piece = waitingPiece, spans.isEmpty, let first = places.first {
            begin(at: first, piece: piece)
        }
        probeWindows(isEnd: false)
        forget()
    }

    /// Looks at the windows of spans whose first 32 KiB were decoded.
    private func probeWindows(isEnd: Bool) {
        while let index = openWindows.first {
            let start = spans[index].content.lowerBound
            let count = min(position - start, UInt64(Checkpoint.windowSize))
            let stored = spans[index].stored.lowerBound
            let isLong = tail.end - stored > Self.probeLimit
            guard isEnd || isLong || count == UInt64(Checkpoint.windowSize) else { return }
            openWindows.removeFirst()
            guard count == UInt64(Checkpoint.windowSize) || isEnd else { continue }
            let (bytes, checkpoint) = (tail.bytes(from: stored), spans[index].checkpoint)
            probe.clear(&spans[index].window, bytes, checkpoint, count: Int(count))
        }
    }

    /// Drops what no span can begin or end at any more.
    private func forget() {
        let oldest = position > Self.lag ? position - Self.lag : 0
        // The last one before stays.
        if let first = places.lastIndex(where: { $0.boundary.uncompressedOffset.bytes <= oldest }),
            first > 0
        {
            places.removeFirst(first)
        }
        let firstMark = marks.firstIndex { $0.content >= oldest } ?? 0
        if firstMark > 32 { marks.removeFirst(firstMark) }
        var needed = places.first?.boundary.compressedByte.bytes ?? tail.end
        if let index = openWindows.first { needed = min(needed, spans[index].stored.lowerBound) }
        tail.drop(before: needed)
    }

    /// The spans of the layer, which has been decoded to its end.
    ///
    /// - Returns: the spans, in order.
    package func finish() -> [LayerSpan] {
        if !spans.isEmpty { close(spans.count - 1) }
        probeWindows(isEnd: true)
        // What has no mark behind it ends with the layer.
        for index in openEnds { end(index, at: Mark(content: position, stored: tail.end)) }
        openEnds = []
        defer { spans = [] }
        return spans
    }
}

/// The last stored bytes that have passed.
private final class StoredTail {
    private var storage: [UInt8] = []
    // Where the storage begins in the file.
    private var start: UInt64 = 0

    /// How many bytes have passed.
    var end: UInt64 { start + UInt64(storage.count) }

    func append(_ bytes: UnsafeRawBufferPointer) {
        unsafe storage.append(contentsOf: bytes)
    }

    func byte(at offset: UInt64) -> UInt8? {
        offset >= start && offset < end ? storage[Int(offset - start)] : nil
    }

    /// The bytes from an offset on that has not been dropped.
    func bytes(from offset: UInt64) -> ArraySlice<UInt8> {
        offset >= start && offset < end ? storage[Int(offset - start)...] : []
    }

    func drop(before offset: UInt64) {
        let count = Int(min(offset, end) - min(start, offset))
        // Now and then, so that a byte is moved once at most.
        guard count > storage.count / 2, count > 1 << 18 else { return }
        storage.removeFirst(count)
        start += UInt64(count)
    }
}
