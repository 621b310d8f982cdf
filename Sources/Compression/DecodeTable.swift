// SPDX-License-Identifier: Apache-2.0

/// How a Huffman code of DEFLATE (RFC 1951 section 3.2.2) is decoded: its next bits are the index
/// of an entry.
///
/// Codes longer than the index lead to a second table behind the first. Memory is made once, the
/// table as often as a block brings a code.
@safe
final class DecodeTable {
    /// What can be wrong with the lengths of a code.
    enum Fault {
        /// More codes than their lengths allow.
        case oversubscribed
        /// Bits that stand for no symbol.
        case incomplete
    }

    /// The longest code in bits.
    static let maximumLength = 15

    /// The entries; at least 2^indexBits of them, and all that links lead to.
    let entries: UnsafeMutablePointer<DecodeEntry>
    /// Which bits of the stream are the index of an entry.
    private(set) var mask: UInt64 = 0

    private let capacity: Int
    private let primaryBits: Int
    private let symbols: SymbolEntries
    // Scratch memory of a build: symbols in the order of their codes.
    private let sorted: UnsafeMutablePointer<UInt16>
    // How many codes have each length, and where the next symbol of that length goes.
    private let counts: UnsafeMutablePointer<Int>
    private let places: UnsafeMutablePointer<Int>

    /// Memory for the tables of one alphabet.
    ///
    /// - Parameters:
    ///   - symbols: what each symbol means.
    ///   - primaryBits: the largest index of the first table in bits.
    ///   - capacity: entries that suffice for every code; a build that needs more fails.
    init(_ symbols: SymbolEntries, primaryBits: Int, capacity: Int) {
        self.symbols = symbols
        self.primaryBits = primaryBits
        self.capacity = capacity
        unsafe entries = .allocate(capacity: capacity)
        unsafe entries.initialize(repeating: .unused.coded(in: 1), count: capacity)
        unsafe sorted = .allocate(capacity: symbols.count)
        unsafe sorted.initialize(repeating: 0, count: symbols.count)
        unsafe counts = .allocate(capacity: Self.maximumLength + 1)
        unsafe counts.initialize(repeating: 0, count: Self.maximumLength + 1)
        unsafe places = .allocate(capacity: Self.maximumLength + 1)
        unsafe places.initialize(repeating: 0, count: Self.maximumLength + 1)
    }

    deinit {
        unsafe entries.deallocate()
        unsafe sorted.deallocate()
        unsafe counts.deallocate()
        unsafe places.deallocate()
    }

    /// Makes the table of a code.
    ///
    /// As in zlib, a code of a single bit may leave the other bit unused, and there may be no code
    /// at all: such bits are an error only where they stand in the stream.
    ///
    /// - Parameters:
    ///   - lengths: the length of each symbol's code in bits, at most 15; 0 for symbols that do
    ///     not occur.
    ///   - count: how many there are, at most as many as the alphabet has symbols.
    ///   - isComplete: whether no bits may be left unused, not even by a single code.
    /// - Returns: what is wrong with the lengths, or nil.
    func build(
        _ lengths: UnsafePointer<UInt8>,
        count: Int,
        isComplete: Bool = false
    ) -> Fault? {
        let longest = unsafe countLengths(lengths, count)
        // Codes of the present length that are left, from the shortest to the longest length.
        var left = 1
        for length in 1...Self.maximumLength {
            left = unsafe left &* 2 &- counts[length]
            guard left >= 0 else { return .oversubscribed }
        }
        if left > 0 {
            guard longest <= 1, !isComplete else { return .incomplete }
            unsafe fillSingle(lengths, count)
            return nil
        }
        unsafe sort(lengths, count)
        let bits = min(longest, primaryBits)
        mask = 1 &<< UInt64(bits) &- 1
        return fill(bits: bits, longest: longest)
    }

    /// Counts the codes of each length; gives the longest.
    private func countLengths(_ lengths: UnsafePointer<UInt8>, _ count: Int) -> Int {
        for length in 0...Self.maximumLength { unsafe counts[length] = 0 }
        for symbol in 0..<count { unsafe counts[Int(lengths[symbol] & 15)] &+= 1 }
        var longest = Self.maximumLength
        while longest > 0, unsafe counts[longest] == 0 { longest &-= 1 }
        return longest
    }

    private func sort(_ lengths: UnsafePointer<UInt8>, _ count: Int) {
        var place = 0
        for length in 1...Self.maximumLength {
            unsafe places[length] = place
            unsafe place &+= counts[length]
        }
        for symbol in 0..<count {
            let length = unsafe Int(lengths[symbol] & 15)
            guard length > 0 else { continue }
            unsafe sorted[places[length]] = UInt16(truncatingIfNeeded: symbol)
            unsafe places[length] &+= 1
        }
    }

    /// A code of one symbol and one bit, or of none.
    private func fillSingle(_ lengths: UnsafePointer<UInt8>, _ count: Int) {
        mask = 1
        unsafe entries[0] = .unused.coded(in: 1)
        unsafe entries[1] = .unused.coded(in: 1)
        for symbol in 0..<count where unsafe lengths[symbol] == 1 {
            unsafe entries[0] = symbols.pointer[symbol].coded(in: 1)
        }
    }

    /// Fills the tables with a complete code, its symbols sorted.
    ///
    /// While the codes get longer the table doubles: what is filled is the same whatever the bit
    /// above, and the places of longer codes are overwritten later. Since the code is complete,
    /// every place is.
    private func fill(bits: Int, longest: Int) -> Fault? {
        var codeword = 0
        var place = 0
        var size = 1
        for length in 1...max(bits, 1) {
            unsafe (entries + size).update(from: entries, count: size)
            size &*= 2
            for _ in 0..<(unsafe counts[length]) {
                let symbol = unsafe Int(sorted[place])
                unsafe entries[codeword] = symbols.pointer[symbol].coded(in: length)
                place &+= 1
                codeword = Self.next(after: codeword, length: length)
            }
        }
        guard longest > bits else { return nil }
        return fillLinked(bits: bits, longest: longest, codeword: codeword, place: place)
    }

    /// Fills the second tables, for codes longer than the first table's index.
    private func fillLinked(bits: Int, longest: Int, codeword: Int, place: Int) -> Fault? {
        var codeword = codeword
        var place = place
        var prefix = -1
        var start = 0
        var free = 1 &<< bits
        var linkBits = 0
        for length in bits + 1...longest {
            var rest = unsafe counts[length]
            while rest > 0 {
                if codeword & (1 &<< bits &- 1) != prefix {
                    prefix = codeword & (1 &<< bits &- 1)
                    start = free
                    linkBits = sizeOfLinked(from: length, rest: rest, after: bits, longest: longest)
                    free &+= 1 &<< linkBits
                    // For the alphabets and sizes in use no code needs more than the capacity.
                    guard free <= capacity else { return .oversubscribed }
                    unsafe entries[prefix] = .link(start: start, indexBits: linkBits, after: bits)
                }
                let entry = unsafe symbols.pointer[Int(sorted[place])].coded(in: length &- bits)
                var index = codeword &>> bits
                while index < 1 &<< linkBits {
                    unsafe entries[start &+ index] = entry
                    index &+= 1 &<< (length &- bits)
                }
                place &+= 1
                rest &-= 1
                codeword = Self.next(after: codeword, length: length)
            }
        }
        return nil
    }

    /// The index of a second table in bits: as many as it takes until its codes fill it.
    private func sizeOfLinked(from length: Int, rest: Int, after bits: Int, longest: Int) -> Int {
        var size = length &- bits
        var filled = rest
        while filled < 1 &<< size, bits &+ size < longest {
            size &+= 1
            filled = unsafe filled &* 2 &+ counts[bits &+ size]
        }
        return size
    }

    /// The codeword after one of the same length.
    ///
    /// Codes stand in the stream with their highest bit first, so counting carries downward. After
    /// the last one of a length comes that of the next length with a zero behind, which in this
    /// order changes nothing.
    @inline(__always)
    private static func next(after codeword: Int, length: Int) -> Int {
        let zeros = ~codeword & (1 &<< length &- 1)
        guard zeros != 0 else { return codeword }
        let highest = 1 &<< (Int.bitWidth &- 1 &- zeros.leadingZeroBitCount)
        return codeword & (highest &- 1) | highest
    }
}

/// What the symbols of one alphabet mean, before they have codes.
@safe
final class SymbolEntries: Sendable {
    /// The meanings; never changed.
    nonisolated(unsafe) let pointer: UnsafePointer<DecodeEntry>
    /// How many symbols there are.
    let count: Int

    init(_ entries: [DecodeEntry]) {
        count = entries.count
        let memory = UnsafeMutablePointer<DecodeEntry>.allocate(capacity: entries.count)
        for (index, entry) in entries.enumerated() {
            unsafe (memory + index).initialize(to: entry)
        }
        unsafe pointer = unsafe UnsafePointer(memory)
    }

    deinit {
        unsafe pointer.deallocate()
    }

    /// Literals, the end of a block, and the lengths of matches (RFC 1951 section 3.2.5).
    static let literalsAndLengths: SymbolEntries = {
        var entries = (0..<256).map { DecodeEntry.literal(UInt8($0)) } + [.end]
        var base: UInt32 = 3
        for symbol in 257..<285 {
            let extraBits = symbol < 265 ? 0 : UInt32(symbol - 261) / 4
            entries.append(.match(base: base, extraBits: extraBits))
            base += 1 << extraBits
        }
        // Symbol 284 could say 258 as well, which 285 says shorter; 286 and 287 mean nothing.
        entries.append(.match(base: 258, extraBits: 0))
        return SymbolEntries(entries + [.unused, .unused])
    }()

    /// How far back matches begin; 30 and 31 mean nothing.
    static let distances: SymbolEntries = {
        var entries: [DecodeEntry] = []
        var base: UInt32 = 1
        for symbol in 0..<30 {
            let extraBits = symbol < 4 ? 0 : UInt32(symbol - 2) / 2
            entries.append(.match(base: base, extraBits: extraBits))
            base += 1 << extraBits
        }
        return SymbolEntries(entries + [.unused, .unused])
    }()

    /// The lengths of codes, and how they repeat (RFC 1951 section 3.2.7).
    static let codeLengths = SymbolEntries((0..<19).map { .plain($0) })
}
