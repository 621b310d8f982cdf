// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Linux
import Synchronization

/// A call of a client, from its arrival until its status has been sent.
///
/// gRPC's object lives as long as this one, and every operation that runs keeps this one alive.
@safe
final class ServerCall: @unchecked Sendable {
    // @unchecked: gRPC's calls are made for threads; `cancelled` and `message` are written by gRPC
    // before it says that the operation has ended, and read after; `hasBegun` is the worker's.
    /// The path: `/service/method`.
    let path: String
    /// What the call carries beside its message.
    let context: CallContext

    private let handle: OpaquePointer
    private let cancelled: UnsafeMutablePointer<Int32>
    private let message: UnsafeMutablePointer<UnsafeMutablePointer<grpc_byte_buffer>?>
    /// Whether the response's head has been sent.
    private var hasBegun = false

    /// Takes over gRPC's object.
    init(_ handle: OpaquePointer, path: String, context: CallContext) {
        unsafe self.handle = handle
        self.path = path
        self.context = context
        unsafe cancelled = .allocate(capacity: 1)
        unsafe cancelled.initialize(to: 0)
        unsafe message = .allocate(capacity: 1)
        unsafe message.initialize(to: nil)
    }

    deinit {
        if let buffer = unsafe message.pointee { unsafe grpc_byte_buffer_destroy(buffer) }
        unsafe message.deallocate()
        unsafe cancelled.deallocate()
        unsafe grpc_call_unref(handle)
    }

    /// Has the context cancelled when the client is gone, and reads the request.
    ///
    /// - Parameter received: runs inside `CompletionQueue.next`, with the request, or nil without one.
    func receive(_ received: @escaping @Sendable ([UInt8]?) -> Void) {
        var close = unsafe grpc_op()
        unsafe close.op = GRPC_OP_RECV_CLOSE_ON_SERVER
        unsafe close.data.recv_close_on_server.cancelled = cancelled
        _ = unsafe start([close]) { [self] _ in
            if unsafe cancelled.pointee != 0 { context.cancel() }
        }
        var receive = unsafe grpc_op()
        unsafe receive.op = GRPC_OP_RECV_MESSAGE
        unsafe receive.data.recv_message.recv_message = message
        let isStarted = unsafe start([receive]) { [self] isDone in
            received(isDone ? takeMessage() : nil)
        }
        if !isStarted { received(nil) }
    }

    /// Sends one message of a stream, and waits until the client takes it.
    ///
    /// - Throws: `cancelled` when the client is gone.
    func send(_ bytes: [UInt8]) throws(RPCStatus) {
        let sent = Monitor<Bool?>(nil)
        let buffer = unsafe MessageBuffer.make(bytes)
        let isStarted = unsafe start(head() + [Self.sending(buffer)]) { isDone in
            sent.update { $0 = isDone }
        }
        let isDone = isStarted && sent.wait { $0 }
        unsafe grpc_byte_buffer_destroy(buffer)
        guard isDone else { throw RPCStatus(.cancelled, "the caller is gone") }
    }

    /// Ends the call; to be called once.
    ///
    /// - Parameters:
    ///   - status: the failure; nil for success.
    ///   - bytes: the response, nil for none.
    func finish(_ status: RPCStatus?, _ bytes: [UInt8]?) {
        let body = SentMessage(bytes)
        // A status travels in a header: a long one would make the client drop the connection.
        let text = String(decoding: (status?.message ?? "").utf8.prefix(2000), as: UTF8.self)
        var details = unsafe grpc_slice_from_copied_buffer(text, text.utf8.count)
        defer { unsafe grpc_slice_unref(details) }
        unsafe withUnsafeMutablePointer(to: &details) { details in
            var end = unsafe grpc_op()
            unsafe end.op = GRPC_OP_SEND_STATUS_FROM_SERVER
            unsafe end.data.send_status_from_server.trailing_metadata_count = 0
            unsafe end.data.send_status_from_server.status = grpc_status_code(
                rawValue: (status?.code ?? .ok).rawValue
            )
            unsafe end.data.send_status_from_server.status_details = details
            var operations = unsafe head()
            if let buffer = unsafe body.buffer {
                unsafe operations.append(Self.sending(buffer))
            }
            unsafe operations.append(end)
            _ = unsafe start(operations) { _ in body.release() }
        }
    }

    /// The operation that begins a response, if it has not begun.
    private func head() -> [grpc_op] {
        guard !hasBegun else { return unsafe [] }
        hasBegun = true
        var operation = unsafe grpc_op()
        unsafe operation.op = GRPC_OP_SEND_INITIAL_METADATA
        return unsafe [operation]
    }

    private static func sending(_ buffer: UnsafeMutablePointer<grpc_byte_buffer>?) -> grpc_op {
        var operation = unsafe grpc_op()
        unsafe operation.op = GRPC_OP_SEND_MESSAGE
        unsafe operation.data.send_message.send_message = buffer
        return unsafe operation
    }

    private func takeMessage() -> [UInt8]? {
        guard let buffer = unsafe message.pointee else { return nil }
        return unsafe MessageBuffer.bytes(of: buffer)
    }

    private func start(
        _ operations: [grpc_op],
        end: @escaping @Sendable (Bool) -> Void
    ) -> Bool {
        unsafe CompletionQueue.start(
            { tag in
                unsafe operations.withUnsafeBufferPointer { operations in
                    unsafe grpc_call_start_batch(
                        handle,
                        operations.baseAddress,
                        operations.count,
                        tag,
                        nil
                    ) == GRPC_CALL_OK
                }
            },
            // gRPC's object must not go before the operation has ended.
            end: { [self] isDone in withExtendedLifetime(self) { end(isDone) } }
        )
    }
}

/// A message on its way, released when it has been sent or cannot be.
@safe
private final class SentMessage: @unchecked Sendable {
    // @unchecked: touched by the thread that sends, then by the one that learns of the end.
    private(set) var buffer: UnsafeMutablePointer<grpc_byte_buffer>?

    init(_ bytes: [UInt8]?) {
        if let bytes {
            unsafe buffer = MessageBuffer.make(bytes)
        } else {
            unsafe buffer = nil
        }
    }

    /// Nothing to do: the message goes with the last that holds it.
    func release() {}

    deinit {
        if let buffer = unsafe buffer { unsafe grpc_byte_buffer_destroy(buffer) }
    }
}
