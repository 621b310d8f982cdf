// SPDX-License-Identifier: Apache-2.0

import Content

/// Where the stored bytes of a file with holes belong; what lies between reads as zeros.
///
/// GNU tar writes the map in four ways ("Storing Sparse Files", GNU tar manual): in header blocks
/// of its own format, and in three versions of pax records, 0.0, 0.1 and 1.0.
struct SparseMap: Equatable {
    /// A run of stored bytes.
    struct Segment: Equatable {
        /// Where it begins in the file's content.
        var offset: UInt64
        /// How many bytes it has, at least 1.
        var size: UInt64
    }

    /// The most segments a map may have: what a map takes in memory must have an end.
    static let segmentLimit = 1 << 20

    /// The segments, ascending, none touching what another covers.
    private(set) var segments: [Segment] = []
    /// How many bytes are stored in all.
    private(set) var storedSize: UInt64 = 0
    /// Where the last segment ends, also one without bytes.
    private var end: UInt64 = 0
    private var count = 0

    /// A map of nothing: one hole.
    init() {}

    /// Adds the next segment.
    ///
    /// - Throws: `ContentError` if it begins before the one before it ends, or is one too many.
    mutating func append(_ segment: Segment) throws(ContentError) {
        let (segmentEnd, overflow) = segment.offset.addingReportingOverflow(segment.size)
        guard !overflow, segment.offset >= end else {
            throw .corrupt(
                "sparse map: \(segment.size) bytes at offset \(segment.offset) do not follow"
                    + " offset \(end)"
            )
        }
        count += 1
        guard count <= Self.segmentLimit else {
            throw ContentError(.limitExceeded, "sparse map of over \(Self.segmentLimit) segments")
        }
        end = segmentEnd
        // A map ends with an empty segment where the file ends with a hole.
        guard segment.size > 0 else { return }
        segments.append(segment)
        // No overflow: segments do not overlap.
        storedSize += segment.size
    }

    /// Compares the map with what else the archive says.
    ///
    /// - Parameters:
    ///   - contentSize: the size of the file's content.
    ///   - storedSize: how many bytes the archive holds of it.
    /// - Throws: `ContentError` if the map leads out of the content, or has another stored size.
    func check(contentSize: UInt64, storedSize: UInt64) throws(ContentError) {
        guard end <= contentSize else {
            throw .corrupt("sparse map ends at offset \(end) of \(contentSize) bytes")
        }
        guard self.storedSize == storedSize else {
            throw .corrupt(
                "sparse map of \(self.storedSize) stored bytes, the archive has \(storedSize)"
            )
        }
    }
}

extension SparseMap {
    /// Adds the segments in a header block of GNU's own format.
    ///
    /// - Parameters:
    ///   - block: 512 bytes.
    ///   - start: where the pairs begin in it: 386 in the first header, 0 in those that follow.
    ///   - pairs: how many there is room for: 4 and 21.
    /// - Returns: whether another block of them follows.
    /// - Throws: `ContentError` for what is no number, and as `append` does.
    mutating func appendSegments(
        ofBlock block: [UInt8],
        start: Int,
        pairs: Int
    ) throws(ContentError) -> Bool {
        let fieldSize = 12
        for pair in 0..<pairs {
            let offset = start + pair * 2 * fieldSize
            // The first pair that was not written ends the list.
            guard block[offset] != 0 else { break }
            try append(
                Segment(
                    offset: TarHeader.size(block[offset..<offset + fieldSize], "sparse offset"),
                    size: TarHeader.size(
                        block[offset + fieldSize..<offset + 2 * fieldSize],
                        "sparse size"
                    )
                )
            )
        }
        return block[start + pairs * 2 * fieldSize] != 0
    }

    /// The map in the value of a `GNU.sparse.map` record: `offset,size,offset,size`.
    init(record: [UInt8]) throws(ContentError) {
        let numbers = record.split(separator: 0x2c, omittingEmptySubsequences: false)
        guard numbers.count.isMultiple(of: 2) else {
            throw .corrupt("sparse map with an offset that has no size")
        }
        for pair in stride(from: 0, to: numbers.count, by: 2) {
            try append(
                Segment(
                    offset: Self.number(numbers[pair]),
                    size: Self.number(numbers[pair + 1])
                )
            )
        }
    }

    fileprivate static func number(_ digits: ArraySlice<UInt8>) throws(ContentError) -> UInt64 {
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = UInt64(String(decoding: digits, as: UTF8.self))
        else { throw .corrupt("sparse map holds no number: \(escapedText(of: digits.prefix(40)))") }
        return number
    }
}

/// Reads the map that version 1.0 puts in front of a file's stored bytes: decimal numbers, each
/// ended by a line end - how many segments, then offset and size of each - in whole blocks.
struct SparseMapText {
    private(set) var map = SparseMap()
    private var digits: [UInt8] = []
    /// Segments still to come; nil before their number is known.
    private var remaining: UInt64?
    private var offset: UInt64?

    /// The most digits a number of 64 bits has.
    private static let digitLimit = 20

    /// Whether all of the map was read.
    var isComplete: Bool { remaining == 0 }

    /// Takes the next block; what follows the map in it pads.
    mutating func add(_ block: [UInt8]) throws(ContentError) {
        for byte in block {
            guard !isComplete else { return }
            guard byte == 0x0a else {
                guard digits.count < Self.digitLimit else {
                    throw .corrupt("sparse map holds a number of over \(Self.digitLimit) digits")
                }
                digits.append(byte)
                continue
            }
            try take(try SparseMap.number(digits[...]))
            digits.removeAll(keepingCapacity: true)
        }
    }

    private mutating func take(_ number: UInt64) throws(ContentError) {
        guard let remaining else {
            guard number <= UInt64(SparseMap.segmentLimit) else {
                throw ContentError(
                    .limitExceeded,
                    "sparse map of \(number) segments, at most \(SparseMap.segmentLimit)"
                )
            }
            self.remaining = number
            return
        }
        guard let offset else {
            self.offset = number
            return
        }
        try map.append(SparseMap.Segment(offset: offset, size: number))
        self.offset = nil
        self.remaining = remaining - 1
    }
}

/// Goes through a sparse file's content from its start.
struct SparseCursor {
    /// What comes next in the content.
    enum Run: Equatable {
        /// That many bytes as stored.
        case stored(UInt64)
        /// That many zeros.
        case zeros(UInt64)
        case end
    }

    private let segments: [SparseMap.Segment]
    private let contentSize: UInt64
    private var index = 0
    private var position: UInt64 = 0

    /// The content of a map that was checked against its size.
    init(_ map: SparseMap, contentSize: UInt64) {
        segments = map.segments
        self.contentSize = contentSize
    }

    /// The run at the cursor.
    var run: Run {
        guard position < contentSize else { return .end }
        guard index < segments.count else { return .zeros(contentSize - position) }
        let segment = segments[index]
        guard position >= segment.offset else { return .zeros(segment.offset - position) }
        return .stored(segment.size - (position - segment.offset))
    }

    /// Goes on inside the run.
    ///
    /// - Parameter count: at most the run's bytes.
    mutating func advance(_ count: UInt64) {
        position += count
        guard index < segments.count else { return }
        let segment = segments[index]
        if position >= segment.offset, position - segment.offset >= segment.size { index += 1 }
    }
}
