// SPDX-License-Identifier: Apache-2.0

import CFuse
import CLinux
import Glibc

/// A request of the kernel, which is answered exactly once.
///
/// Each answer consumes the request; one that is dropped is answered with EIO by itself. It may be
/// answered by any thread.
@safe
package struct FuseRequest: ~Copyable, @unchecked Sendable {
    // @unchecked: libfuse's requests may be answered from any thread; there is one owner.
    private let raw: fuse_req_t
    // Retained by init, released when the request is answered: libfuse writes the answer to the
    // session's descriptor. A plain reference would forbid `discard self`.
    private let session: Unmanaged<FuseSession>

    init(_ raw: fuse_req_t, of session: FuseSession) {
        unsafe self.raw = raw
        unsafe self.session = .passRetained(session)
    }

    deinit {
        unsafe fuse_reply_err(raw, FuseFailure.inputOutput.code)
        unsafe session.release()
    }

    /// To be left by whoever waits for storage with the request in hand, and joined afterwards.
    package var watch: SessionWatch { unsafe session._withUnsafeGuaranteedRef { $0.watch } }

    /// Answers that it cannot be done.
    package consuming func reply(_ failure: FuseFailure) {
        unsafe fuse_reply_err(raw, failure.code)
        unsafe session.release()
        discard self
    }

    /// Answers with bytes.
    package consuming func reply(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { [raw] bytes in
            let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            unsafe fuse_reply_buf(raw, start, bytes.count)
        }
        unsafe session.release()
        discard self
    }

    /// Answers with what a name stands for.
    consuming func reply(entry: fuse_entry_param) {
        var entry = entry
        unsafe fuse_reply_entry(raw, &entry)
        unsafe session.release()
        discard self
    }

    /// Answers with a node's attributes.
    consuming func reply(status: stat) {
        var status = status
        unsafe fuse_reply_attr(raw, &status, NodeNumbers.forever)
        unsafe session.release()
        discard self
    }

    /// Answers with what statfs tells.
    consuming func reply(statistics: FuseStatistics) {
        let blockSize: UInt64 = 4096
        var status = statvfs()
        status.f_bsize = UInt(blockSize)
        status.f_frsize = UInt(blockSize)
        status.f_blocks = UInt(
            statistics.size / blockSize + (statistics.size % blockSize > 0 ? 1 : 0)
        )
        status.f_files = UInt(statistics.fileCount)
        status.f_namemax = 255
        unsafe fuse_reply_statfs(raw, &status)
        unsafe session.release()
        discard self
    }

    /// Answers with the size that an extended attribute, or the list of them, has.
    consuming func reply(xattrSize: Int) {
        unsafe fuse_reply_xattr(raw, xattrSize)
        unsafe session.release()
        discard self
    }

    /// Answers with an offset.
    consuming func reply(offset: UInt64) {
        unsafe fuse_reply_lseek(raw, off_t(clamping: offset))
        unsafe session.release()
        discard self
    }

    /// Puts the request aside, to be answered later from another thread.
    ///
    /// - Returns: the parked request; nil if the caller was interrupted meanwhile and has its
    ///   answer.
    package consuming func park() -> ParkedRequest? {
        let session = unsafe session.takeUnretainedValue()
        let parked = ParkedRequest(session)
        // The number, not a pointer: libfuse may still pass it to the callback after another
        // thread has answered, and the number then finds nothing.
        let number = unsafe UnsafeMutableRawPointer(bitPattern: UInt(parked.number))
        unsafe fuse_req_interrupt_func(raw, FuseSession.interrupted, number)
        guard let rejected = parked.admit(self) else { return parked }
        rejected.reply(.interrupted)
        return nil
    }
}
