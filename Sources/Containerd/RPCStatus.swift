// SPDX-License-Identifier: Apache-2.0
//
// Containerd: the snapshots gRPC service of containerd, over a unix socket.

/// Why a call failed, as its caller is told.
package struct RPCStatus: Error, Sendable, Equatable, CustomStringConvertible {
    /// The codes of gRPC (`grpc/status.h`) that calls here end with.
    ///
    /// containerd turns them into its own errors; those it acts upon are `alreadyExists`,
    /// `notFound`, `failedPrecondition`, `invalidArgument` and `unimplemented`.
    package enum Code: Int32, Sendable, CaseIterable {
        /// No failure.
        case ok = 0
        /// The caller does not want the answer any more.
        case cancelled = 1
        /// A failure without a name.
        case unknown = 2
        /// What is asked for can never be answered.
        case invalidArgument = 3
        /// The caller's time is over.
        case deadlineExceeded = 4
        /// No snapshot of this name.
        case notFound = 5
        /// There is a snapshot of this name.
        case alreadyExists = 6
        /// The caller may not.
        case permissionDenied = 7
        /// A limit of ours or no room on storage.
        case resourceExhausted = 8
        /// The snapshot is not in the state that the call needs, such as one with children.
        case failedPrecondition = 9
        /// Given up for another call's sake; may be tried again.
        case aborted = 10
        /// There is no such method.
        case unimplemented = 12
        /// Something here is broken.
        case internalError = 13
        /// Not now, such as while the service stops; may be tried again.
        case unavailable = 14
        /// Data that should be there is lost or damaged.
        case dataLoss = 15

        /// The name, as gRPC's documents and metrics write it: `ALREADY_EXISTS`.
        package var name: String {
            switch self {
            case .ok: "OK"
            case .cancelled: "CANCELLED"
            case .unknown: "UNKNOWN"
            case .invalidArgument: "INVALID_ARGUMENT"
            case .deadlineExceeded: "DEADLINE_EXCEEDED"
            case .notFound: "NOT_FOUND"
            case .alreadyExists: "ALREADY_EXISTS"
            case .permissionDenied: "PERMISSION_DENIED"
            case .resourceExhausted: "RESOURCE_EXHAUSTED"
            case .failedPrecondition: "FAILED_PRECONDITION"
            case .aborted: "ABORTED"
            case .unimplemented: "UNIMPLEMENTED"
            case .internalError: "INTERNAL"
            case .unavailable: "UNAVAILABLE"
            case .dataLoss: "DATA_LOSS"
            }
        }
    }

    /// The code, for programs.
    package let code: Code
    /// The message, for people: one line that says what failed and on which snapshot.
    package let message: String

    /// A failure.
    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "\(code.name): \(message)" }
}
