// SPDX-License-Identifier: Apache-2.0

extension RawSpan {
    /// The integer stored little-endian at the byte offset, which needs no alignment.
    ///
    /// - Parameters:
    ///   - type: the integer's type.
    ///   - offset: the offset of its first byte.
    /// - Returns: the integer.
    /// - Throws: `ContentError` if the span ends before the integer does.
    @inlinable
    package func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type,
        at offset: Int
    ) throws(ContentError) -> T {
        guard offset >= 0, offset <= byteCount - MemoryLayout<T>.size else {
            throw .truncated(
                "needs \(MemoryLayout<T>.size) bytes at offset \(offset), has \(byteCount) in all"
            )
        }
        // Safe: the guard above is the bounds check.
        return T(
            littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: type)
        )
    }

    /// The bytes of the range.
    ///
    /// - Parameters:
    ///   - offset: the offset of the first byte.
    ///   - count: how many bytes.
    /// - Returns: a copy of the bytes.
    /// - Throws: `ContentError` if the span does not hold the whole range.
    package func bytes(at offset: Int, count: Int) throws(ContentError) -> [UInt8] {
        let part = try slice(at: offset, count: count)
        return unsafe part.withUnsafeBytes { unsafe Array($0) }
    }

    /// The part of the span in the range, without copying.
    ///
    /// - Parameters:
    ///   - offset: the offset of the first byte.
    ///   - count: how many bytes.
    /// - Returns: the part.
    /// - Throws: `ContentError` if the span does not hold the whole range.
    @_lifetime(copy self)
    package func slice(at offset: Int, count: Int) throws(ContentError) -> RawSpan {
        guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
            throw .truncated(
                "needs \(count) bytes at offset \(offset), has \(byteCount) in all"
            )
        }
        return extracting(offset..<offset + count)
    }

    /// Whether the first bytes are these.
    package func hasPrefix(_ prefix: [UInt8]) -> Bool {
        guard prefix.count <= byteCount else { return false }
        return unsafe withUnsafeBytes { unsafe $0.starts(with: prefix) }
    }

    /// How many bytes are zero before the first that is not.
    package var leadingZeroByteCount: Int {
        unsafe withUnsafeBytes { bytes in
            unsafe bytes.firstIndex { $0 != 0 } ?? bytes.count
        }
    }
}

extension [UInt8] {
    /// The array's bytes, valid while the array lives unchanged.
    package var rawSpan: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            // Safe: bytes are trivial; the compiler asks because `Span.bytes` serves other types.
            unsafe span.bytes
        }
    }

    /// Appends the integer's bytes, least significant first.
    package mutating func appendLittleEndian(_ value: some FixedWidthInteger) {
        var rest = value.littleEndian
        unsafe Swift.withUnsafeBytes(of: &rest) { unsafe append(contentsOf: $0) }
    }

    /// Stores the integer's bytes at the offset, least significant first.
    ///
    /// The range must lie inside the array: offsets here are our own layout's, never input.
    package mutating func storeLittleEndian(_ value: some FixedWidthInteger, at offset: Int) {
        var rest = value.littleEndian
        unsafe Swift.withUnsafeBytes(of: &rest) { bytes in
            for index in bytes.indices {
                self[offset + index] = unsafe bytes[index]
            }
        }
    }

    /// Appends zeros up to the next multiple of the alignment, a power of two.
    package mutating func padWithZeros(toMultipleOf alignment: Int) {
        append(
            contentsOf: repeatElement(0, count: count.roundedUp(toMultipleOf: alignment) - count)
        )
    }
}

extension FixedWidthInteger {
    /// The smallest multiple of the alignment, a power of two, that is not less than this value.
    ///
    /// Traps on overflow: callers bound the value first.
    @inlinable
    package func roundedUp(toMultipleOf alignment: Self) -> Self {
        (self + (alignment - 1)) & ~(alignment - 1)
    }
}
