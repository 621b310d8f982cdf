// SPDX-License-Identifier: Apache-2.0

import CZlib
package import Content

/// The content of a gzip file (RFC 1952): any number of members, header fields and checksums
/// verified, zeros after the last member ignored as gzip(1) does.
@safe
package struct GzipDecoder<Source: ByteStream & ~Copyable>: ~Copyable, ByteStream {
    private enum State {
        /// Before the first member: the input must not be empty.
        case start
        case insideMember
        case betweenMembers
        case ended
    }

    private var input: BufferedStream<Source>
    private let inflater: Inflater
    private var state = State.start

    /// How many bytes of content were given out so far.
    package private(set) var uncompressedOffset = UncompressedOffset(0)

    /// The content of the stored bytes.
    ///
    /// - Parameter source: a whole gzip file; read on demand, to its end.
    package init(_ source: consuming Source) {
        input = BufferedStream(source)
        inflater = Inflater()
    }

    /// How many stored bytes were decoded so far.
    package var compressedOffset: CompressedOffset { CompressedOffset(input.offset) }

    package mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        while true {
            switch state {
            case .ended: return 0
            case .start, .betweenMembers: try beginMember()
            case .insideMember:
                let count = try unsafe inflate(into: buffer)
                if count > 0 { return count }
            }
        }
    }

    /// Looks for the next member's magic number, or the end.
    private mutating func beginMember() throws(ContentError) {
        let isFirst = state == .start
        if !isFirst { try skipZeros() }
        let available = try input.fill(atLeast: 2)
        if available == 0 {
            guard !isFirst else { throw truncated("empty instead of gzip") }
            state = .ended
            return
        }
        guard available >= 2 else { throw truncated("ends inside a gzip header") }
        guard input.buffered.hasPrefix([0x1f, 0x8b]) else {
            throw corrupt(isFirst ? "no gzip magic number" : "garbage after the last gzip member")
        }
        inflater.reset()
        state = .insideMember
    }

    private mutating func skipZeros() throws(ContentError) {
        while try input.fill(atLeast: 1) > 0 {
            let available = input.buffered.byteCount
            let count = input.buffered.leadingZeroByteCount
            input.consume(count)
            guard count == available else { return }
        }
    }

    private mutating func inflate(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        let available = try input.fill(atLeast: 1)
        let inflater = inflater
        let step = unsafe input.buffered.withUnsafeBytes { bytes in
            unsafe inflater.step(from: bytes, into: buffer)
        }
        input.consume(step.consumed)
        uncompressedOffset.bytes &+= UInt64(step.produced)
        switch step.result {
        case .progress where step.produced > 0 || step.consumed > 0: return step.produced
        case .progress where available == 0: throw truncated("ends inside a gzip member")
        case .progress: throw corrupt("gzip data makes no progress")
        case .memberEnd:
            state = .betweenMembers
            return step.produced
        case .outOfMemory: throw ContentError(.inputOutput, "no memory to decode gzip")
        case .corrupt(let reason): throw corrupt("gzip data is corrupt (\(reason))")
        }
    }

    private func truncated(_ text: String) -> ContentError {
        .truncated("\(text) \(place)")
    }

    private func corrupt(_ text: String) -> ContentError {
        .corrupt("\(text) \(place)")
    }

    private var place: String {
        "at compressed offset \(compressedOffset), uncompressed offset \(uncompressedOffset)"
    }
}

/// zlib's decoder state for gzip members.
@safe
final class Inflater {
    enum Result {
        case progress
        case memberEnd
        case outOfMemory
        case corrupt(String)
    }

    // zlib's state points back at the z_stream, so it must not move: allocated in init, freed in
    // deinit.
    private let stream: UnsafeMutablePointer<z_stream>
    private let isReady: Bool

    init() {
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // 15 bits of window, plus 16: gzip header and trailer are read and checked by zlib.
        unsafe isReady = czlib_inflate_init(stream, 15 + 16) == Z_OK
    }

    deinit {
        if isReady { _ = unsafe inflateEnd(stream) }
        unsafe stream.deallocate()
    }

    func reset() {
        // Fails only for a stream that was never set up, which `step` tells.
        _ = unsafe inflateReset(stream)
    }

    func step(
        from input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) -> (result: Result, consumed: Int, produced: Int) {
        guard isReady else { return (.outOfMemory, 0, 0) }
        let inputCount = UInt32(clamping: input.count)
        let outputCount = UInt32(clamping: output.count)
        // zlib does not write through next_in; its type lacks const for history's sake.
        unsafe stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        )
        unsafe stream.pointee.avail_in = inputCount
        unsafe stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_out = outputCount
        let code = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
        let consumed = unsafe Int(inputCount - stream.pointee.avail_in)
        let produced = unsafe Int(outputCount - stream.pointee.avail_out)
        let result: Result =
            switch code {
            case Z_OK, Z_BUF_ERROR: .progress
            case Z_STREAM_END: .memberEnd
            case Z_MEM_ERROR: .outOfMemory
            default:
                .corrupt(
                    unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "code \(code)"
                )
            }
        return (result, consumed, produced)
    }
}
