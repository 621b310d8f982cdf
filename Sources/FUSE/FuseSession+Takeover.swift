// SPDX-License-Identifier: Apache-2.0

import CFuse
import Glibc
package import Linux
import Synchronization

/// How a mount goes from one process to the next: the descriptor of /dev/fuse is the mount, and who
/// has it can serve it.
extension FuseSession {
    /// Another descriptor for the same mount, which lives while any of them is open.
    ///
    /// - Returns: the descriptor; other programs do not inherit it.
    /// - Throws: `SystemError` if the process has no descriptor left.
    package func duplicateDescriptor() throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.duplicate(of: descriptor, "/dev/fuse")
    }

    /// Has the kernel send again what was received from it and not answered.
    ///
    /// To be called before workers serve the session: what they have received would come twice.
    ///
    /// - Throws: `SystemError`: EINVAL if the kernel knows no such thing (before Linux 6.9).
    package func resendRequests() throws(SystemError) {
        // fuse_out_header: length, the notification's code, and no request's number.
        var header: (UInt32, Int32, UInt64) = (16, 7, 0)  // FUSE_NOTIFY_RESEND, linux/fuse.h
        try retryingOnInterrupt("write", "/dev/fuse") {
            unsafe withUnsafeBytes(of: &header) {
                unsafe write(descriptor, $0.baseAddress, $0.count)
            }
        }
    }

    /// Lets libfuse's session negotiate what the kernel negotiated with the process before.
    func replay(_ initRequest: [UInt8]) throws(SystemError) {
        guard SessionRecord.isInitRequest(initRequest) else {
            throw SystemError(
                "take over",
                "/dev/fuse, whose kept INIT request of \(initRequest.count) bytes is none",
                code: EPROTO
            )
        }
        var bytes = initRequest
        isSilent.store(true, ordering: .relaxed)
        unsafe bytes.withUnsafeMutableBytes { bytes in
            var buffer = unsafe fuse_buf()
            unsafe buffer.mem = bytes.baseAddress
            unsafe buffer.size = bytes.count
            unsafe record.add(request: UnsafeRawBufferPointer(bytes))
            unsafe fuse_session_process_buf(handle, &buffer)
        }
        isSilent.store(false, ordering: .relaxed)
        guard SessionRecord.isInitReply(keptInitReply) else {
            throw SystemError(
                "take over",
                "/dev/fuse, whose kept INIT request is not accepted",
                code: EPROTO
            )
        }
    }

    /// What writev(2) returns that has written everything.
    static func byteCount(_ parts: UnsafePointer<iovec>?, _ count: Int32) -> Int {
        let parts = unsafe UnsafeBufferPointer(start: parts, count: Int(count))
        return unsafe parts.reduce(0) { unsafe $0 + $1.iov_len }
    }
}
