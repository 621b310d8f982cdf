// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Linux

/// Where gRPC puts the next call.
@safe
final class IncomingCall: @unchecked Sendable {
    // @unchecked: written by gRPC before it says that there is a call, and read after.
    private let handle: UnsafeMutablePointer<OpaquePointer?>
    private let details: UnsafeMutablePointer<grpc_call_details>
    private let metadata: UnsafeMutablePointer<grpc_metadata_array>

    init() {
        unsafe handle = .allocate(capacity: 1)
        unsafe handle.initialize(to: nil)
        unsafe details = .allocate(capacity: 1)
        unsafe grpc_call_details_init(details)
        unsafe metadata = .allocate(capacity: 1)
        unsafe grpc_metadata_array_init(metadata)
    }

    deinit {
        unsafe grpc_metadata_array_destroy(metadata)
        unsafe metadata.deallocate()
        unsafe grpc_call_details_destroy(details)
        unsafe details.deallocate()
        unsafe handle.deallocate()
    }

    /// Waits for a call.
    ///
    /// - Parameters:
    ///   - server: gRPC's server.
    ///   - queue: where calls and their operations are reported.
    ///   - arrived: runs inside `CompletionQueue.next`, with the call; nil when the server stops.
    func request(
        from server: OpaquePointer,
        _ queue: CompletionQueue,
        _ arrived: @escaping @Sendable (ServerCall?) -> Void
    ) {
        let isStarted = unsafe CompletionQueue.start(
            { tag in
                unsafe grpc_server_request_call(
                    server,
                    handle,
                    details,
                    metadata,
                    queue.handle,
                    queue.handle,
                    tag
                ) == GRPC_CALL_OK
            },
            end: { [self] isDone in arrived(isDone ? take() : nil) }
        )
        if !isStarted { arrived(nil) }
    }

    private func take() -> ServerCall? {
        guard let call = unsafe handle.pointee else { return nil }
        let context = CallContext(
            namespace: value(of: "containerd-namespace"),
            deadline: unsafe Self.deadline(details.pointee.deadline)
        )
        let path = unsafe Self.text(details.pointee.method)
        return unsafe ServerCall(call, path: path, context: context)
    }

    /// The value of a header; nil if it was not sent, or is empty.
    private func value(of name: String) -> String? {
        for index in 0..<(unsafe metadata.pointee.count) {
            let entry = unsafe metadata.pointee.metadata[index]
            guard unsafe Self.text(entry.key) == name else { continue }
            let value = unsafe Self.text(entry.value)
            return value.isEmpty ? nil : value
        }
        return nil
    }

    private static func text(_ slice: grpc_slice) -> String {
        // A short slice holds its bytes itself: the pointer is into this copy.
        unsafe withUnsafePointer(to: slice) { slice in
            unsafe String(
                decoding: UnsafeRawBufferPointer(
                    start: cgrpc_slice_bytes(slice),
                    count: cgrpc_slice_size(slice)
                ),
                as: UTF8.self
            )
        }
    }

    /// A moment of gRPC's on the clock of `CurrentProcess.monotonicNanoseconds`; nil for never.
    private static func deadline(_ moment: gpr_timespec) -> UInt64? {
        // gRPC's way to say "never".
        guard moment.tv_sec != Int64.max else { return nil }
        let left = gpr_time_sub(moment, gpr_now(moment.clock_type))
        let (now, seconds) = (CurrentProcess.monotonicNanoseconds, UInt64(clamping: left.tv_sec))
        // Three hundred years are never, too.
        guard seconds < 1 << 33 else { return nil }
        return now &+ seconds &* 1_000_000_000 &+ UInt64(clamping: left.tv_nsec)
    }
}
