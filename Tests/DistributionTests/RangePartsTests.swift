// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Distribution

@Suite("Parts of ranges")
struct RangePartsTests {
    @Test(arguments: [
        (1, 1), ((2 << 20) - 1, 1), (2 << 20, 2), ((3 << 20) + 5, 3), (4 << 20, 4),
        ((16 << 20) + 3, 4),
    ])
    func partsAreTheRange(byteCount: Int, count: Int) {
        let parts = RangeParts(count: byteCount)
        #expect(parts.count == count)
        var end = 0
        for index in 0..<parts.count {
            #expect(parts[index].lowerBound == end)
            #expect(parts[index].count >= byteCount / count)
            end = parts[index].upperBound
        }
        #expect(end == byteCount)
    }
}
