// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Why a request gets no answer; the true cause is in the log, written by who knew it.
package enum FuseFailure: Error, Sendable, CaseIterable {
    /// The data or metadata cannot be had, or is corrupt.
    case inputOutput
    /// The inode has no such extended attribute.
    case noAttribute
    /// The attribute is larger than the caller's buffer.
    case bufferTooSmall
    /// The file system has no such operation: the kernel will not ask again.
    case notImplemented
    /// The caller was sent a signal while it waited.
    case interrupted
    /// The node is not of the type that the operation works on.
    case invalid
    /// The offset is at or after the end of the file, or nothing but a hole follows.
    case pastEnd

    /// The errno the caller sees: made here and nowhere else.
    var code: Int32 {
        switch self {
        case .inputOutput: EIO
        case .noAttribute: ENODATA
        case .bufferTooSmall: ERANGE
        case .notImplemented: ENOSYS
        case .interrupted: EINTR
        case .invalid: EINVAL
        case .pastEnd: ENXIO
        }
    }
}
