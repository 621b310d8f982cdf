// SPDX-License-Identifier: Apache-2.0

/// How far a cache looks ahead of its readers.
///
/// The distances are those that did best when starts of real images were replayed over links of
/// several speeds: a request takes along what lies behind a miss, and a reader that goes straight
/// on finds the next 32 MiB there. What lies around a miss is worth fetching in the background
/// only on a link that would be idle otherwise: that is for who knows the link to ask for.
package struct ReadAhead: Sendable, Equatable {
    /// A request for less than this is extended to it, in stored bytes; 0: nothing is fetched that
    /// no reader asked for.
    package var requestBytes: UInt64
    /// How many stored bytes after a miss are fetched when nothing else is wanted, and a quarter of
    /// that before it.
    package var backgroundBytes: UInt64

    /// Looking ahead that far.
    ///
    /// - Parameters:
    ///   - requestBytes: what a request is extended to, in stored bytes; 0 for none.
    ///   - backgroundBytes: how much after a miss is fetched when nothing else is wanted.
    package init(requestBytes: UInt64, backgroundBytes: UInt64 = 0) {
        self.requestBytes = min(requestBytes, 1 << 24)
        self.backgroundBytes = min(backgroundBytes, 1 << 28)
    }

    /// The usual distance.
    package static let usual = ReadAhead(requestBytes: 512 << 10)

    /// How far a sequential reader's chunks are fetched ahead at most, in bytes of content.
    var sequentialBytes: UInt64 { requestBytes * 64 }
    /// How far they are fetched ahead as soon as a reader turns out to be one.
    static let firstWindow: UInt64 = 1 << 20
}

/// The sequential readers of one blob: decisions only.
///
/// A reader is taken for sequential as soon as it comes to the chunk after those that its last miss
/// asked for; that chunk is marked, since others may have fetched it meanwhile. From then on the
/// chunk where the last window begins is marked: whoever reaches it has the next window fetched,
/// twice as long. So a reader that goes on never waits, and one that stops has cost at most twice
/// what it has read.
struct SequentialReaders {
    /// What is to be fetched for a reader.
    struct Window: Equatable {
        /// Which reader: 0..<count.
        var reader: Int
        /// The chunks from which as many are taken as the bytes hold.
        var chunks: ClosedRange<Int>
        /// How many bytes of content.
        var bytes: UInt64
    }

    private struct Reader {
        /// The first chunk that was not asked for on its behalf.
        var next = 0
        /// The last chunk of its file, as far as its last miss could tell.
        var last = -1
        /// The length of the last window.
        var window: UInt64 = 0
        /// The chunk at which the next window is due; nil if none is.
        var mark: Int?
        var lastUse: UInt64 = 0
    }

    /// How many readers are told apart; of more, the one that was seen least recently is forgotten.
    static let count = 4

    private var readers = [Reader](repeating: Reader(), count: Self.count)
    private var clock: UInt64 = 0

    /// The marked chunks, by reader.
    var marks: [Int?] { readers.map(\.mark) }

    /// A read missed chunks.
    ///
    /// - Parameters:
    ///   - chunks: those it needs, of this blob.
    ///   - next: the first chunk that the request for them does not ask for.
    ///   - last: the chunk up to which they are the file's.
    ///   - limit: the longest window, in bytes of content.
    /// - Returns: what to fetch ahead; nil for nothing.
    mutating func missed(
        _ chunks: ClosedRange<Int>,
        next: Int,
        last: Int,
        limit: UInt64
    ) -> Window? {
        clock += 1
        if let index = readers.firstIndex(where: { Self.continues($0, chunks) }) {
            readers[index].next = max(readers[index].next, next)
            readers[index].last = last
            return advance(index, limit)
        }
        // Another read of what was asked for already starts nothing new.
        guard !readers.contains(where: { $0.next == next }) else { return nil }
        guard next <= last else { return nil }
        guard let oldest = readers.indices.min(by: { readers[$0].lastUse < readers[$1].lastUse })
        else { return nil }
        readers[oldest] = Reader(next: next, last: last, mark: next, lastUse: clock)
        return nil
    }

    /// Whether a read goes on where the reader is expected.
    private static func continues(_ reader: Reader, _ chunks: ClosedRange<Int>) -> Bool {
        guard reader.last >= 0 else { return false }
        if chunks.contains(reader.next) { return true }
        guard let mark = reader.mark else { return false }
        return chunks.upperBound >= mark && chunks.upperBound < reader.next
    }

    /// A read has come to a marked chunk.
    ///
    /// - Returns: what to fetch ahead; nil if no reader has its mark there.
    mutating func reached(_ chunk: Int, limit: UInt64) -> Window? {
        clock += 1
        guard let index = readers.firstIndex(where: { $0.mark == chunk }) else { return nil }
        return advance(index, limit)
    }

    private mutating func advance(_ index: Int, _ limit: UInt64) -> Window? {
        readers[index].lastUse = clock
        readers[index].mark = nil
        let reader = readers[index]
        guard reader.next <= reader.last else { return nil }
        let window = min(max(reader.window * 2, ReadAhead.firstWindow), limit)
        readers[index].window = window
        return Window(reader: index, chunks: reader.next...reader.last, bytes: window)
    }

    /// A window was asked for.
    ///
    /// - Parameters:
    ///   - window: the window.
    ///   - next: the first chunk that is not in it.
    mutating func asked(_ window: Window, next: Int) {
        readers[window.reader].next = next
        guard next <= readers[window.reader].last else { return }
        readers[window.reader].mark = window.chunks.lowerBound
    }
}
