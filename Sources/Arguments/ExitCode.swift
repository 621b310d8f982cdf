// SPDX-License-Identifier: Apache-2.0

/// How a program of ours ends: the one table behind exit(3), `--help` and lazypull(1).
///
/// Scripts rely on the numbers: one is never given another meaning.
package enum ExitCode: Int32, Sendable, CaseIterable {
    /// What was asked for is done.
    case done = 0
    /// It failed for a cause without a number of its own, or a check found differences.
    case failed = 1
    /// The command line is wrong.
    case usage = 2
    /// A file, tag or blob that was named does not exist.
    case notFound = 64
    /// Data contradicts its format or its digest, or ends early.
    case corrupt = 65
    /// The system or the other side refuses.
    case denied = 66
    /// The disk or a quota is full.
    case noSpace = 67
    /// Well formed, but nothing this version can handle, or this system lacks.
    case unsupported = 68
    /// A stated limit on entries, chunks, sizes or depth is exceeded.
    case limitExceeded = 69
    /// Somebody else uses it: a locked cache, a mount point.
    case busy = 70
    /// Storage or network did not give or take the data.
    case inputOutput = 71

    /// What the number means, in a few words.
    package var meaning: String {
        switch self {
        case .done: "done"
        case .failed: "failed, or differences were found"
        case .usage: "usage error"
        case .notFound: "not found"
        case .corrupt: "corrupt or truncated data"
        case .denied: "permission denied"
        case .noSpace: "no space left"
        case .unsupported: "not supported"
        case .limitExceeded: "limit exceeded"
        case .busy: "in use"
        case .inputOutput: "input or output error"
        }
    }
}
