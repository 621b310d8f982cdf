// SPDX-License-Identifier: Apache-2.0

import Compression
import TestSupport

/// What became of a stream, as far as one buffer takes its content.
struct Inflated: Equatable {
    var content: [UInt8] = []
    var consumed = 0
    var status = InflateDecoder.Status.needsInput

    /// Decodes the pieces one after another, `room` bytes of content with each call.
    init(_ pieces: [[UInt8]], room: Int = 1 << 17, history: [UInt8] = [], skippedBits: Int = 0) {
        let decoder = InflateDecoder()
        decoder.restart(skippedBits: skippedBits)
        var memory = history + [UInt8](repeating: 0xA5, count: 1 << 17)
        var position = history.count
        for piece in pieces {
            var rest = piece[...]
            repeat {
                let before = position
                let end = min(memory.count, position + room)
                let (count, status) = unsafe memory.withUnsafeMutableBytes { memory in
                    unsafe rest.withUnsafeBytes { input in
                        unsafe decoder.decode(
                            input,
                            into: UnsafeMutableRawBufferPointer(rebasing: memory[..<end]),
                            at: &position
                        )
                    }
                }
                rest = rest.dropFirst(count)
                consumed += count
                self.status = status
                if count == 0, position == before { break }
            } while status == .outputFull || !rest.isEmpty
        }
        content = Array(memory[history.count..<position])
    }

    init(_ stored: [UInt8]) { self.init([stored]) }
}

/// Streams that are wrong in one way each.
enum WrongStreams {
    static func stream(_ fault: InflateFault) -> [UInt8] {
        var writer = DeflateWriter()
        switch fault {
        case .blockType: writer.beginBlock(type: 3)
        case .storedLength:
            writer.appendStored([1, 2, 3])
            var bytes = writer.bytes
            bytes[3] ^= 1
            return bytes + padding
        case .codeCount, .lengthsOversubscribed, .lengthsIncomplete, .repeatOfNothing,
            .repeatTooLong:
            appendHeader(&writer, fault)
        case .noEndOfBlock: writer.beginBlock(literals: [1, 1], distances: [1])
        case .literalsOversubscribed: writer.beginBlock(literals: withEnd(1, 1, 1), distances: [1])
        case .literalsIncomplete: writer.beginBlock(literals: withEnd(2, 2, 2), distances: [1])
        case .distancesOversubscribed:
            writer.beginBlock(literals: withEnd(1, 0, 1), distances: [1, 1, 1])
        case .distancesIncomplete: writer.beginBlock(literals: withEnd(1, 0, 1), distances: [2, 2])
        case .literalCode, .distanceCode, .distanceTooFar: appendSymbols(&writer, fault)
        }
        return writer.bytes + padding
    }

    /// Zeros, so that nothing is cut off.
    static let padding = [UInt8](repeating: 0, count: 64)

    /// Lengths for two literals and for the end of the block.
    private static func withEnd(_ first: Int, _ second: Int, _ end: Int) -> [Int] {
        [first, second] + [Int](repeating: 0, count: 254) + [end]
    }

    private static func appendHeader(_ writer: inout DeflateWriter, _ fault: InflateFault) {
        let none = [Int](repeating: 0, count: 19)
        var lengths = none
        switch fault {
        case .codeCount: writer.beginBlock(counts: (287, 1), lengthsCode: none)
        case .lengthsOversubscribed:
            lengths.replaceSubrange(0..<3, with: [1, 1, 1])
            writer.beginBlock(counts: (257, 1), lengthsCode: lengths)
        case .lengthsIncomplete:
            lengths[0] = 1
            writer.beginBlock(counts: (257, 1), lengthsCode: lengths)
        case .repeatOfNothing:
            (lengths[0], lengths[16]) = (1, 1)
            writer.beginBlock(counts: (257, 1), lengthsCode: lengths)
            writer.append(1, bits: 1)
        default:
            (lengths[0], lengths[18]) = (1, 1)
            writer.beginBlock(counts: (257, 1), lengthsCode: lengths)
            // 138 + 138 zeros for 258 codes.
            writer.append(0xFF, bits: 8)
            writer.append(0xFF, bits: 8)
        }
    }

    private static func appendSymbols(_ writer: inout DeflateWriter, _ fault: InflateFault) {
        let fixed = DeflateWriter.Code.fixed
        writer.beginBlock(type: 1)
        writer.append(fixed[0x61])
        switch fault {
        case .literalCode: writer.append(fixed[286])
        case .distanceCode:
            writer.append(fixed[257])
            writer.append(.init(value: 30, length: 5))
        default:
            // Two back after one byte.
            writer.append(fixed[257])
            writer.append(.init(value: 1, length: 5))
        }
    }
}
