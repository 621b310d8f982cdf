// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Synchronization

/// A call of ours to another service, from its start to its status.
///
/// Used by one thread, which waits in it; gRPC writes only into what lives as long as this does.
@safe
final class ClientCall {
    private let handle: OpaquePointer
    private let queue: CompletionQueue
    private let message: UnsafeMutablePointer<UnsafeMutablePointer<grpc_byte_buffer>?>
    private let status: UnsafeMutablePointer<grpc_status_code>
    private let details: UnsafeMutablePointer<grpc_slice>
    /// What the response begins with, and what it ends with.
    private let metadata: UnsafeMutablePointer<grpc_metadata_array>

    /// A call that has not begun.
    ///
    /// - Parameters:
    ///   - path: `/service/method`.
    ///   - channel: gRPC's connection.
    ///   - queue: where its operations end; no other call's.
    ///   - seconds: how long it may take.
    init?(_ path: String, _ channel: OpaquePointer, _ queue: CompletionQueue, seconds: Int64) {
        let method = unsafe grpc_slice_from_copied_buffer(path, path.utf8.count)
        defer { unsafe grpc_slice_unref(method) }
        let deadline = gpr_time_add(
            gpr_now(GPR_CLOCK_MONOTONIC),
            gpr_time_from_seconds(seconds, GPR_TIMESPAN)
        )
        let call = unsafe grpc_channel_create_call(
            channel,
            nil,
            0,
            queue.handle,
            method,
            nil,
            deadline,
            nil
        )
        guard let call = unsafe call else { return nil }
        unsafe handle = call
        self.queue = queue
        unsafe message = .allocate(capacity: 1)
        unsafe message.initialize(to: nil)
        unsafe status = .allocate(capacity: 1)
        unsafe status.initialize(to: GRPC_STATUS_UNKNOWN)
        unsafe details = .allocate(capacity: 1)
        unsafe details.initialize(to: grpc_empty_slice())
        unsafe metadata = .allocate(capacity: 2)
        unsafe grpc_metadata_array_init(metadata)
        unsafe grpc_metadata_array_init(metadata + 1)
    }

    deinit {
        if let buffer = unsafe message.pointee { unsafe grpc_byte_buffer_destroy(buffer) }
        unsafe message.deallocate()
        unsafe status.deallocate()
        unsafe grpc_slice_unref(details.pointee)
        unsafe details.deallocate()
        unsafe grpc_metadata_array_destroy(metadata)
        unsafe grpc_metadata_array_destroy(metadata + 1)
        unsafe metadata.deallocate()
        unsafe grpc_call_unref(handle)
    }

    /// Sends the request, and waits for all that is answered.
    ///
    /// - Parameters:
    ///   - request: the message.
    ///   - headers: what goes with it.
    ///   - received: takes each message of the response; what it throws ends the call.
    /// - Throws: what the service answers, or `received` throws.
    func run(
        _ request: [UInt8],
        headers: [(String, String)],
        _ received: ([UInt8]) throws(RPCStatus) -> Void
    ) throws(RPCStatus) {
        send(request, headers)
        do {
            while let bytes = receive() { try received(bytes) }
        } catch {
            unsafe grpc_call_cancel(handle, nil)
            _ = receiveStatus()
            throw error
        }
        if let failure = receiveStatus() { throw failure }
    }

    private func send(_ request: [UInt8], _ headers: [(String, String)]) {
        let buffer = unsafe MessageBuffer.make(request)
        defer { unsafe grpc_byte_buffer_destroy(buffer) }
        var sent = unsafe headers.map { name, value in
            unsafe grpc_metadata(
                key: grpc_slice_from_copied_buffer(name, name.utf8.count),
                value: grpc_slice_from_copied_buffer(value, value.utf8.count),
                internal_data: .init()
            )
        }
        defer {
            for index in 0..<(unsafe sent.count) {
                unsafe grpc_slice_unref(sent[index].key)
                unsafe grpc_slice_unref(sent[index].value)
            }
        }
        let count = unsafe sent.count
        unsafe sent.withUnsafeMutableBufferPointer { sent in
            var begin = unsafe grpc_op()
            unsafe begin.op = GRPC_OP_SEND_INITIAL_METADATA
            unsafe begin.data.send_initial_metadata.count = count
            unsafe begin.data.send_initial_metadata.metadata = sent.baseAddress
            var message = unsafe grpc_op()
            unsafe message.op = GRPC_OP_SEND_MESSAGE
            unsafe message.data.send_message.send_message = buffer
            var end = unsafe grpc_op()
            unsafe end.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT
            var head = unsafe grpc_op()
            unsafe head.op = GRPC_OP_RECV_INITIAL_METADATA
            unsafe head.data.recv_initial_metadata.recv_initial_metadata = metadata
            // Why it failed is in the status.
            _ = unsafe perform([begin, message, end, head])
        }
    }

    /// The next message; nil where there are no more.
    private func receive() -> [UInt8]? {
        var operation = unsafe grpc_op()
        unsafe operation.op = GRPC_OP_RECV_MESSAGE
        unsafe operation.data.recv_message.recv_message = message
        guard unsafe perform([operation]), let buffer = unsafe message.pointee else { return nil }
        defer {
            unsafe grpc_byte_buffer_destroy(buffer)
            unsafe message.pointee = nil
        }
        return unsafe MessageBuffer.bytes(of: buffer)
    }

    /// How the call has ended; nil for success.
    private func receiveStatus() -> RPCStatus? {
        var operation = unsafe grpc_op()
        unsafe operation.op = GRPC_OP_RECV_STATUS_ON_CLIENT
        unsafe operation.data.recv_status_on_client.status = status
        unsafe operation.data.recv_status_on_client.status_details = details
        unsafe operation.data.recv_status_on_client.trailing_metadata = metadata + 1
        _ = unsafe perform([operation])
        let code = unsafe status.pointee
        guard code != GRPC_STATUS_OK else { return nil }
        let text = unsafe String(
            decoding: UnsafeRawBufferPointer(
                start: cgrpc_slice_bytes(details),
                count: cgrpc_slice_size(details)
            ),
            as: UTF8.self
        )
        return RPCStatus(RPCStatus.Code(rawValue: Int32(code.rawValue)) ?? .unknown, text)
    }

    /// Starts operations, and waits until they have ended.
    private func perform(_ operations: [grpc_op]) -> Bool {
        let outcome = Outcome()
        let isStarted = unsafe CompletionQueue.start(
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
            end: { isDone in outcome.value.withLock { $0 = isDone } }
        )
        guard isStarted else { return false }
        while true {
            if let isDone = outcome.value.withLock({ $0 }) { return isDone }
            guard queue.next() else { return false }
        }
    }
}

/// How operations have ended.
private final class Outcome: Sendable {
    let value = Mutex<Bool?>(nil)
}
