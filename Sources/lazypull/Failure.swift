// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
// The errno names.
internal import Glibc
internal import Linux

/// How an error ends the process: the one place where errors become exit codes.
struct Failure: Error {
    /// The exit code.
    var code: ExitCode
    /// The message, one line, without the program's name.
    var message: String

    /// A failure of the command's own; paths and words in its message may be anybody's.
    init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = messageText(message)
    }

    /// What an error thrown by any module means.
    init(_ error: any Error) {
        switch error {
        case let failure as Failure:
            self = failure
        case let error as UsageError:
            self.init(.usage, error.message)
        case let error as ContentError:
            self.init(Self.code(of: error.kind), error.message)
        case let error as SystemError:
            let code = error.isOutOfSpace ? .noSpace : Self.code(ofErrno: error.code)
            self.init(code, error.description)
        default:
            self.init(.failed, String(describing: error))
        }
    }

    private static func code(of kind: ContentError.Kind) -> ExitCode {
        switch kind {
        case .corrupt, .truncated: .corrupt
        case .unsupported: .unsupported
        case .limitExceeded: .limitExceeded
        case .notFound: .notFound
        case .denied: .denied
        case .noSpace: .noSpace
        case .inputOutput: .inputOutput
        }
    }

    private static func code(ofErrno code: Int32) -> ExitCode {
        switch code {
        case ENOENT, ENOTDIR, ENXIO: .notFound
        case EACCES, EPERM, EROFS: .denied
        case EBUSY, EAGAIN, ETXTBSY: .busy
        case ENOSYS, EOPNOTSUPP, ENODEV: .unsupported
        case EMFILE, ENFILE, ENOMEM, ENAMETOOLONG, E2BIG: .limitExceeded
        case EIO, EPIPE, ENOTCONN, ETIMEDOUT: .inputOutput
        default: .failed
        }
    }
}
