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

    /// Asks for what libfuse 3.14 has a name for and does not ask for: that names of one directory
    /// are looked up side by side.
    private func amend(_ parts: UnsafeBufferPointer<iovec>) {
        // FUSE_PARALLEL_DIROPS; fuse_init_in and fuse_init_out have their flags at the same place.
        let parallelLookups: UInt32 = 1 << 18
        let place = 12
        let offered = initRequest.update { request -> UInt32 in
            guard request.count >= Self.requestHeaderSize + place + 4 else { return 0 }
            return unsafe request.withUnsafeBytes {
                unsafe $0.loadUnaligned(
                    fromByteOffset: Self.requestHeaderSize + place,
                    as: UInt32.self
                )
            }
        }
        guard offered & parallelLookups != 0, parts.count == 2,
            unsafe parts[1].iov_len >= place + 4, let start = unsafe parts[1].iov_base
        else { return }
        let flags = unsafe start.loadUnaligned(fromByteOffset: place, as: UInt32.self)
        unsafe start.storeBytes(
            of: flags | parallelLookups,
            toByteOffset: place,
            as: UInt32.self
        )
    }
}
