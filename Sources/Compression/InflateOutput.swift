// SPDX-License-Identifier: Apache-2.0

/// Where decoded bytes go: memory that also holds those before them, which matches repeat.
@safe
struct InflateOutput {
    /// The oldest byte that a match may repeat.
    let start: UnsafeMutablePointer<UInt8>
    /// Where the next byte goes.
    var next: UnsafeMutablePointer<UInt8>
    /// Where the memory ends.
    let end: UnsafeMutablePointer<UInt8>

    /// The furthest that matches reach back (RFC 1951 section 2).
    static let windowSize = 32 << 10
    /// The longest match.
    static let longestMatch = 258
    /// Bytes that `repeatFast` may write behind a match.
    static let overshoot = 32

    /// How many bytes there is room for.
    @inline(__always)
    var room: Int { unsafe end - next }

    /// How many bytes a match can reach back.
    @inline(__always)
    var reach: Int { unsafe next - start }

    @inline(__always)
    mutating func append(_ byte: UInt8) {
        unsafe next.pointee = byte
        unsafe next += 1
    }

    /// Repeats bytes, a word at a time.
    ///
    /// The caller has made sure that there is room for the match and `overshoot` more bytes, and
    /// that the distance is at least 1 and at most `reach`. Every load is of bytes below the end
    /// of what the stores before it wrote, so an overlap repeats itself as it must.
    @inline(__always)
    mutating func repeatFast(length: Int, distance: Int) {
        var target = unsafe UnsafeMutableRawPointer(next)
        let end = unsafe target + length
        var source = unsafe target + (0 &- distance)
        unsafe next += length
        if distance >= 16 {
            repeat {
                unsafe Self.copy(SIMD16<UInt8>.self, from: source, to: target)
                unsafe Self.copy(SIMD16<UInt8>.self, from: source + 16, to: target + 16)
                unsafe source += 32
                unsafe target += 32
            } while unsafe target < end
        } else if distance == 1 {
            let bytes = unsafe SIMD16<UInt8>(repeating: source.load(as: UInt8.self))
            repeat {
                unsafe target.storeBytes(of: bytes, as: SIMD16<UInt8>.self)
                unsafe target += 16
            } while unsafe target < end
        } else {
            // Of each word at least `distance` bytes are right; the next is stored over the rest.
            let step = min(distance, 8)
            repeat {
                unsafe Self.copy(UInt64.self, from: source, to: target)
                unsafe source += step
                unsafe target += step
            } while unsafe target < end
        }
    }

    /// Repeats bytes one by one: at most as many as there is room for.
    mutating func repeatAtEdge(length: Int, distance: Int) {
        var source = unsafe next - distance
        for _ in 0..<length {
            unsafe next.pointee = source.pointee
            unsafe next += 1
            unsafe source += 1
        }
    }

    @inline(__always)
    private static func copy<Word: BitwiseCopyable>(
        _ type: Word.Type,
        from source: UnsafeMutableRawPointer,
        to target: UnsafeMutableRawPointer
    ) {
        unsafe target.storeBytes(of: source.loadUnaligned(as: type), as: type)
    }
}
