// SPDX-License-Identifier: Apache-2.0

import CFuse
import Glibc
import Linux
import Synchronization

/// What was said on a session's descriptor: the INIT exchange whole, and how many requests of
/// each kind.
///
/// A process that takes the descriptor over feeds the INIT request to a session of its own, and
/// throws the answer away: the kernel has had one, and this is what it holds us to.
final class SessionRecord: Sendable {
    private let initRequest = Monitor<[UInt8]>([])
    private let initReply = Monitor<[UInt8]>([])
    private let hasInitRequest = Atomic(false)
    private let hasInitReply = Atomic(false)
    private let counts: InlineArray<64, Atomic<UInt64>> = InlineArray { _ in Atomic(0) }

    /// Whether the kernel may map the mount's user ids; it must check permissions itself then.
    private let allowsIDMapping: Bool

    init(allowsIDMapping: Bool) {
        self.allowsIDMapping = allowsIDMapping
    }

    private static let initOpcode: UInt32 = 26  // FUSE_INIT, linux/fuse.h
    private static let requestHeaderSize = 40

    var keptInitRequest: [UInt8] { initRequest.update { $0 } }
    var keptInitReply: [UInt8] { initReply.update { $0 } }

    /// How many requests of a kind have come.
    func count(ofOpcode opcode: Int) -> UInt64 {
        guard counts.indices.contains(opcode) else { return 0 }
        return counts[opcode].load(ordering: .relaxed)
    }

    /// A request as the kernel sent it.
    func add(request bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.requestHeaderSize else { return }
        // fuse_in_header: length, opcode.
        let opcode = unsafe bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        if opcode < UInt32(counts.count) {
            counts[Int(opcode)].wrappingAdd(1, ordering: .relaxed)
        }
        // The kernel sends INIT before anything else, and nothing else until it is answered.
        guard opcode == Self.initOpcode, !hasInitRequest.load(ordering: .relaxed) else { return }
        initRequest.update { unsafe $0 = Array(bytes) }
        hasInitRequest.store(true, ordering: .relaxed)
    }

    /// An answer in its parts, before it is sent: the first is that to INIT, and is amended.
    func add(reply parts: UnsafeMutablePointer<iovec>?, count: Int32) {
        guard !hasInitReply.load(ordering: .relaxed) else { return }
        let parts = unsafe UnsafeBufferPointer(start: parts, count: Int(count))
        unsafe amend(parts)
        initReply.update { reply in
            guard reply.isEmpty else { return }
            for index in parts.indices {
                let part = unsafe parts[index]
                unsafe reply.append(
                    contentsOf: UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len)
                )
            }
        }
        hasInitReply.store(true, ordering: .relaxed)
    }

    /// Asks for what libfuse 3.14 does not ask for, where the kernel offers it: that names of one
    /// directory are looked up side by side, and that the mount can be mapped to other user ids.
    private func amend(_ parts: UnsafeBufferPointer<iovec>) {
        guard parts.count == 2, let start = unsafe parts[1].iov_base else { return }
        let size = unsafe parts[1].iov_len
        let offered = initRequest.update { Self.offers(of: $0) }
        var granted = offered & InitFlags.parallelLookups
        if allowsIDMapping, offered & InitFlags.idMapping != 0 {
            granted |= InitFlags.extended | InitFlags.idMapping
        }
        for (place, flags) in [
            (InitFlags.place, UInt32(truncatingIfNeeded: granted)),
            (InitFlags.furtherReplyPlace, UInt32(granted >> 32)),
        ] where flags != 0 && size >= place + 4 {
            let old = unsafe start.loadUnaligned(fromByteOffset: place, as: UInt32.self)
            unsafe start.storeBytes(of: old | flags, toByteOffset: place, as: UInt32.self)
        }
    }

    /// Whether bytes are an INIT request with a body as this program's kernels send it: libfuse reads
    /// it without knowing where it ends.
    static func isInitRequest(_ bytes: [UInt8]) -> Bool {
        // fuse_init_in has 64 bytes since version 7.36, and 16 before.
        guard [requestHeaderSize + 16, requestHeaderSize + 64].contains(bytes.count) else {
            return false
        }
        let words = unsafe bytes.withUnsafeBytes { bytes in
            [0, 4, requestHeaderSize, requestHeaderSize + InitFlags.place].map {
                unsafe bytes.loadUnaligned(fromByteOffset: $0, as: UInt32.self)
            }
        }
        let isExtended = words[3] & UInt32(InitFlags.extended) != 0
        return words[0] == bytes.count && words[1] == initOpcode && words[2] == 7
            && (!isExtended || bytes.count > requestHeaderSize + 16)
    }

    /// Whether bytes are an answer to INIT that grants something.
    static func isInitReply(_ bytes: [UInt8]) -> Bool {
        // fuse_out_header: length, error; the body of fuse_init_out begins after 16 bytes.
        guard bytes.count > 16 else { return false }
        return bytes[4..<8].allSatisfy { $0 == 0 }
    }

    /// What the kernel offers in an INIT request: `flags`, and `flags2` above them.
    private static func offers(of request: [UInt8]) -> UInt64 {
        func word(_ place: Int) -> UInt64 {
            guard request.count >= requestHeaderSize + place + 4 else { return 0 }
            return unsafe request.withUnsafeBytes {
                unsafe UInt64(
                    $0.loadUnaligned(fromByteOffset: requestHeaderSize + place, as: UInt32.self)
                )
            }
        }
        let low = word(InitFlags.place)
        guard low & InitFlags.extended != 0 else { return low }
        return low | word(InitFlags.furtherRequestPlace) << 32
    }

    /// Flags of the INIT exchange, and where they are in its bodies (linux/fuse.h).
    private enum InitFlags {
        /// FUSE_PARALLEL_DIROPS.
        static let parallelLookups: UInt64 = 1 << 18
        /// FUSE_INIT_EXT: there are further flags.
        static let extended: UInt64 = 1 << 30
        /// FUSE_ALLOW_IDMAP, since Linux 6.12.
        static let idMapping: UInt64 = 1 << 40

        /// `flags`, at the same place in fuse_init_in and fuse_init_out.
        static let place = 12
        /// `flags2` in fuse_init_in.
        static let furtherRequestPlace = 16
        /// `flags2` in fuse_init_out.
        static let furtherReplyPlace = 32
    }
}
