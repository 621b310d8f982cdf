// SPDX-License-Identifier: Apache-2.0

/// Reads the codes that a block brings (RFC 1951 section 3.2.7).
@safe
final class CodeReader {
    private static let literalLimit = 286
    private static let distanceLimit = 30
    /// The order in which the lengths of the code for code lengths come.
    private static let order: InlineArray<19, UInt8> = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ]

    // Lengths of the literals' codes, then at once those of the distances' codes; before them of
    // the code that they are written in.
    private let lengths: UnsafeMutablePointer<UInt8>
    private static let capacity = 288 + 32
    // No code is longer than the index: 3 bits each.
    private let table = DecodeTable(.codeLengths, primaryBits: 7, capacity: 128)
    private var literalCount = 0
    private var distanceCount = 0
    private var lengthCount = 0
    private var done = 0

    init() {
        unsafe lengths = .allocate(capacity: Self.capacity)
        unsafe lengths.initialize(repeating: 0, count: Self.capacity)
    }

    deinit {
        unsafe lengths.deallocate()
    }

    /// Begins with a block that brings that many codes of each kind.
    func begin(literals: Int, distances: Int, lengths: Int) {
        literalCount = literals
        distanceCount = distances
        lengthCount = lengths
        done = 0
    }

    /// Whether there are no more codes than symbols.
    var isCountValid: Bool {
        literalCount <= Self.literalLimit && distanceCount <= Self.distanceLimit
    }

    /// Whether all lengths of the code for code lengths are there.
    var hasLengthsCode: Bool { done >= lengthCount }

    /// Takes the next length of the code for code lengths: 0 to 7.
    func appendToLengthsCode(_ length: Int) {
        // At most 19 come: 4 and a number of 4 bits.
        unsafe lengths[Int(Self.order[done])] = UInt8(truncatingIfNeeded: length)
        done += 1
    }

    /// Makes the code for code lengths of those that came; the others do not occur.
    func buildLengthsCode() -> InflateFault? {
        for index in done..<Self.order.count { unsafe lengths[Int(Self.order[index])] = 0 }
        done = 0
        switch unsafe table.build(lengths, count: Self.order.count, isComplete: true) {
        case .oversubscribed: return .lengthsOversubscribed
        case .incomplete: return .lengthsIncomplete
        case nil: return nil
        }
    }

    /// Whether all lengths of the codes are there.
    var isComplete: Bool { done >= literalCount + distanceCount }

    /// What the next bits mean: a length, or a repetition.
    @inline(__always)
    func entry(of bits: BitReader) -> DecodeEntry {
        unsafe table.entries[bits.peek(mask: table.mask)]
    }

    /// How many bits that takes.
    @inline(__always)
    func bitCount(of entry: DecodeEntry) -> UInt64 {
        let extraBits: UInt64 =
            switch entry.value {
            case ..<16: 0
            case 16: 2
            case 17: 3
            default: 7
            }
        return entry.bitCount &+ extraBits
    }

    /// Takes a length or a repetition, for which there are enough bits.
    @inline(__always)
    func append(_ entry: DecodeEntry, _ bits: inout BitReader) -> InflateFault? {
        bits.consume(entry.bitCount)
        let value: UInt8
        let count: Int
        switch entry.value {
        case ..<16:
            value = UInt8(truncatingIfNeeded: entry.value)
            count = 1
        case 16:
            guard done > 0 else { return .repeatOfNothing }
            value = unsafe lengths[done - 1]
            count = 3 + bits.take(2)
        case 17:
            value = 0
            count = 3 + bits.take(3)
        default:
            value = 0
            count = 11 + bits.take(7)
        }
        // Which is at most 286 + 30, so what is stored lies inside the memory.
        guard count <= literalCount + distanceCount - done else { return .repeatTooLong }
        for index in done..<done + count { unsafe lengths[index] = value }
        done += count
        return nil
    }

    /// Makes the tables of the codes, whose lengths are all there.
    func build(_ tables: InflateTables) -> InflateFault? {
        guard unsafe lengths[256] != 0 else { return .noEndOfBlock }
        switch unsafe tables.literals.build(lengths, count: literalCount) {
        case .oversubscribed: return .literalsOversubscribed
        case .incomplete: return .literalsIncomplete
        case nil: break
        }
        let distanceLengths = unsafe lengths + literalCount
        switch unsafe tables.distances.build(distanceLengths, count: distanceCount) {
        case .oversubscribed: return .distancesOversubscribed
        case .incomplete: return .distancesIncomplete
        case nil: return nil
        }
    }
}
