// SPDX-License-Identifier: Apache-2.0

/// The codes of a block, as tables.
///
/// Sendable because those that are shared, `fixed`, are never built again.
final class InflateTables: @unchecked Sendable {
    let literals: DecodeTable
    let distances: DecodeTable

    // The index of the first tables in bits. More means fewer second looks, and more to fill with
    // every block: 10, 11 and 12 differed by less than the measurement.
    private static let literalBits = 11
    private static let distanceBits = 8

    init() {
        // The most entries that any code of 288 and 32 symbols needs, found by zlib's
        // examples/enough.c (`enough 288 11 15`, `enough 32 8 15`).
        literals = DecodeTable(
            .literalsAndLengths,
            primaryBits: Self.literalBits,
            capacity: 2342
        )
        distances = DecodeTable(.distances, primaryBits: Self.distanceBits, capacity: 402)
    }

    /// The codes of a block that brings none (RFC 1951 section 3.2.6).
    static let fixed: InflateTables = {
        let tables = InflateTables()
        let lengths: [UInt8] =
            .init(repeating: 8, count: 144) + .init(repeating: 9, count: 112)
            + .init(repeating: 7, count: 24) + .init(repeating: 8, count: 8)
        let distances = [UInt8](repeating: 5, count: 32)
        // Both codes are complete: there is no fault to look at.
        _ = unsafe lengths.withUnsafeBufferPointer { lengths in
            unsafe lengths.baseAddress.map { unsafe tables.literals.build($0, count: 288) }
        }
        _ = unsafe distances.withUnsafeBufferPointer { lengths in
            unsafe lengths.baseAddress.map { unsafe tables.distances.build($0, count: 32) }
        }
        return tables
    }()
}
