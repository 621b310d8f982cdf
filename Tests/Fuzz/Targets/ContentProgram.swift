// SPDX-License-Identifier: Apache-2.0

import TestSupport

/// Makes content with the repetitions and frequencies that compressors look for, out of few bytes.
enum ContentProgram {
    private static let limit = 100_000

    /// What the program's instructions append, one after another.
    ///
    /// An instruction has three bytes: its kind, and two that it needs.
    static func content(of program: ArraySlice<UInt8>) -> [UInt8] {
        var content: [UInt8] = []
        var rest = program
        while rest.count >= 3, content.count < limit {
            let (kind, first, second) = (rest.removeFirst(), rest.removeFirst(), rest.removeFirst())
            let number = Int(first) << 8 | Int(second)
            switch kind % 6 {
            case 0: content += [first, second]
            case 1:
                let count = min(Int(kind) / 6, rest.count)
                content += rest.prefix(count)
                rest = rest.dropFirst(count)
            case 2: content += repeatElement(second, count: Int(first) * (1 + Int(kind) / 6))
            case 3: repeatPart(&content, distance: 1 + number, count: 3 + Int(kind) * 2)
            case 4: repeatPart(&content, distance: 1 + Int(first), count: 3 + Int(second) * 9)
            default: append(&content, seed: number, symbols: 1 + Int(kind), count: number % 20_000)
            }
        }
        return content
    }

    private static func repeatPart(_ content: inout [UInt8], distance: Int, count: Int) {
        guard distance <= content.count else { return }
        for _ in 0..<count { content.append(content[content.count - distance]) }
    }

    /// Noise of so many different bytes, some of them much more often than others.
    private static func append(_ content: inout [UInt8], seed: Int, symbols: Int, count: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        for _ in 0..<count {
            let number = generator.next()
            let rarity = UInt64(number.trailingZeroBitCount)
            content.append(UInt8(truncatingIfNeeded: (number >> 32 % UInt64(symbols)) &* rarity))
        }
    }
}
