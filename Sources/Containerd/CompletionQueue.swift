// SPDX-License-Identifier: Apache-2.0

import CGRPC

/// Where gRPC says that an operation has ended, and its work on the sockets is done.
@safe
final class CompletionQueue: @unchecked Sendable {
    // @unchecked: gRPC's queues are made for threads.
    /// gRPC's queue.
    let handle: OpaquePointer

    /// An operation's end, kept alive by the operation.
    private final class Completion {
        let run: @Sendable (Bool) -> Void

        init(_ run: @escaping @Sendable (Bool) -> Void) {
            self.run = run
        }
    }

    /// A queue; gRPC has been initialised.
    init() {
        unsafe handle = grpc_completion_queue_create_for_next(nil)
    }

    /// Shut down, and `next` has said that it is over.
    deinit {
        unsafe grpc_completion_queue_destroy(handle)
    }

    /// Starts an operation.
    ///
    /// - Parameters:
    ///   - operation: starts it with the tag; returns whether it did.
    ///   - end: runs inside `next`, once, told whether the operation did what it was for. Not run
    ///     for an operation that was not started.
    /// - Returns: whether it was started.
    static func start(
        _ operation: (UnsafeMutableRawPointer) -> Bool,
        end: @escaping @Sendable (Bool) -> Void
    ) -> Bool {
        // One retain here; released by `next`, or here if nothing will come.
        let completion = unsafe Unmanaged.passRetained(Completion(end))
        guard unsafe operation(completion.toOpaque()) else {
            unsafe completion.release()
            return false
        }
        return true
    }

    /// Waits until an operation has ended, and runs its end.
    ///
    /// - Returns: false once the queue is shut down and empty.
    func next() -> Bool {
        let event = unsafe grpc_completion_queue_next(
            handle,
            gpr_inf_future(GPR_CLOCK_REALTIME),
            nil
        )
        if unsafe event.type == GRPC_QUEUE_SHUTDOWN { return false }
        guard unsafe event.type == GRPC_OP_COMPLETE, let tag = unsafe event.tag else { return true }
        let completion = unsafe Unmanaged<Completion>.fromOpaque(tag).takeRetainedValue()
        completion.run(unsafe event.success != 0)
        return true
    }

    /// Has `next` say that it is over once all operations have ended; none may be started any
    /// more.
    func shutDown() {
        unsafe grpc_completion_queue_shutdown(handle)
    }
}
