// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Glibc
package import Linux
package import Log
import Synchronization

/// Who is told of every call that ends.
package protocol CallObserver: AnyObject, Sendable {
    /// A call has ended.
    ///
    /// - Parameters:
    ///   - method: the method's name, `Prepare`; empty for one that does not exist.
    ///   - code: how it ended.
    ///   - nanoseconds: from its arrival to its end.
    func callEnded(_ method: String, _ code: RPCStatus.Code, nanoseconds: UInt64)
}

/// Serves `containerd.services.snapshots.v1.Snapshots` on a unix socket, with the gRPC C core.
///
/// Calls run on the thread that receives them (`CallThreads`). An idle server does nothing.
@safe
package final class SnapshotsServer: @unchecked Sendable {
    // @unchecked: gRPC's servers are made for threads; the rest does not change.
    /// Bytes of the largest message: containerd's own limit for both directions.
    private static let messageLimit: Int32 = 16 << 20
    /// Calls that a connection may have open.
    private static let streamLimit: Int32 = 1024

    private let service: any SnapshotService
    private let observer: (any CallObserver)?
    private let log: Logger
    private let socket: ServiceSocket
    private let handle: OpaquePointer
    private let queue: CompletionQueue
    private let threads: CallThreads
    private let isStopped = Atomic(false)
    /// What a call that writes takes, in nanoseconds: a mean in which late calls weigh more.
    private let writeTime = Atomic<UInt64>(0)
    /// Calls that write are short on a disk that is faster than this.
    private static let shortWrite: UInt64 = 2_000_000

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - service: who answers.
    ///   - address: the socket's absolute path; its directory exists. What a service that died
    ///     left there is replaced.
    ///   - mode: the socket's permissions.
    ///   - observer: who is told of calls.
    ///   - log: the log.
    /// - Throws: `SystemError` if another service listens there, or the socket cannot be made.
    package init(
        _ service: any SnapshotService,
        address: String,
        mode: UInt32 = 0o600,
        observer: (any CallObserver)? = nil,
        log: Logger
    ) throws(SystemError) {
        let socket = try ServiceSocket(claiming: address)
        GRPCLog.redirect(to: log)
        grpc_init()
        let queue = CompletionQueue()
        let server = unsafe cgrpc_server_create(Self.messageLimit, Self.streamLimit)
        guard let server = unsafe server else {
            throw SystemError("grpc_server_create", address, code: ENOMEM)
        }
        unsafe grpc_server_register_completion_queue(server, queue.handle, nil)
        let credentials = unsafe grpc_insecure_server_credentials_create()
        let port = unsafe grpc_server_add_http2_port(
            server,
            "unix:\(socket.temporaryPath)",
            credentials
        )
        unsafe grpc_server_credentials_release(credentials)
        guard port != 0 else {
            unsafe grpc_server_destroy(server)
            queue.shutDown()
            while queue.next() {}
            throw SystemError("bind", address, code: EADDRNOTAVAIL)
        }
        unsafe grpc_server_start(server)
        self.service = service
        self.observer = observer
        self.log = log
        self.socket = socket
        unsafe handle = server
        self.queue = queue
        threads = try CallThreads(most: 64, kept: 2, queueLimit: 4096) { queue.next() }
        // While one of these takes a call, the others are there for the next.
        for _ in 0..<4 { accept() }
        try socket.publish(mode: mode)
    }

    private func accept() {
        guard !isStopped.load(ordering: .acquiring) else { return }
        let incoming = IncomingCall()
        unsafe incoming.request(from: handle, queue) { [self] call in
            guard let call else { return }
            accept()
            begin(call)
        }
    }

    /// Reads a call's message, and has it answered; runs on the thread that leads.
    private func begin(_ call: ServerCall) {
        let start = CurrentProcess.monotonicNanoseconds
        let method = SnapshotMethod(path: call.path)
        call.receive { [self] message in
            let isShort = isShort(method)
            if isShort { call.context.beforeBlocking { [threads] in threads.passLead() } }
            do throws(CallThreads.Refusal) {
                try threads.run(isShort: isShort) { [self] in
                    answer(call, method, message, since: start)
                }
            } catch {
                let status =
                    error == .closed
                    ? RPCStatus(.unavailable, "the service stops")
                    : RPCStatus(.resourceExhausted, "too many calls at once")
                end(call, method, status, nil, since: start)
            }
        }
    }

    /// Whether a call ends before another thread could take over the sockets.
    private func isShort(_ method: SnapshotMethod?) -> Bool {
        switch method?.duration {
        case nil, .short: true
        case .ofWrite: writeTime.load(ordering: .relaxed) < Self.shortWrite
        case .long: false
        }
    }

    /// Notes what a call that writes has taken.
    private func noteWrite(_ nanoseconds: UInt64) {
        let mean = writeTime.load(ordering: .relaxed)
        // Of two threads that do so at once, one is in vain.
        writeTime.store(mean - mean / 8 + nanoseconds / 8, ordering: .relaxed)
    }

    /// Answers a call.
    private func answer(
        _ call: ServerCall,
        _ method: SnapshotMethod?,
        _ message: [UInt8]?,
        since start: UInt64
    ) {
        do throws(RPCStatus) {
            guard let method else {
                throw RPCStatus(.unimplemented, "there is no method \(call.path)")
            }
            guard let message else {
                throw RPCStatus(.invalidArgument, "\(method.rawValue): no request came")
            }
            let response = try method.answer(message, call.context, service) {
                (bytes: [UInt8]) throws(RPCStatus) in
                try call.send(bytes)
            }
            end(call, method, nil, response, since: start)
        } catch {
            end(call, method, error, nil, since: start)
        }
    }

    private func end(
        _ call: ServerCall,
        _ method: SnapshotMethod?,
        _ status: RPCStatus?,
        _ response: [UInt8]?,
        since start: UInt64
    ) {
        call.finish(status, response)
        let nanoseconds = CurrentProcess.monotonicNanoseconds &- start
        if method?.duration == .ofWrite, !call.context.hasBlocked { noteWrite(nanoseconds) }
        let name = method?.rawValue ?? ""
        observer?.callEnded(name, status?.code ?? .ok, nanoseconds: nanoseconds)
        let fields: LogFields = [
            "method": "\(name.isEmpty ? call.path : name)",
            "microseconds": "\(nanoseconds / 1000)",
        ]
        switch status?.code {
        case nil: log.debug("call", fields)
        case .internalError, .unknown, .dataLoss, .resourceExhausted:
            log.error("call failed: \(status?.description ?? "")", fields)
        default: log.debug("call: \(status?.description ?? "")", fields)
        }
    }

    /// Stops: takes no more calls, lets those that run end, cancels them after the grace period.
    ///
    /// - Parameter graceMilliseconds: how long calls may still run.
    /// - Returns: whether all calls have ended. If not, some still run; nothing is to be taken
    ///   from under them but by the end of the process.
    package func stop(graceMilliseconds: Int) -> Bool {
        guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return true }
        socket.remove()
        let ended = Monitor(false)
        _ = unsafe CompletionQueue.start(
            { tag in
                unsafe grpc_server_shutdown_and_notify(handle, queue.handle, tag)
                return true
            },
            end: { _ in ended.update { $0 = true } }
        )
        func waits(_ milliseconds: Int) -> Bool {
            ended.wait(milliseconds: milliseconds) { $0 ? true : nil } ?? false
        }
        if !waits(graceMilliseconds) {
            unsafe grpc_server_cancel_all_calls(handle)
            guard waits(5000) else { return false }
        }
        guard threads.close(milliseconds: 5000) else { return false }
        unsafe grpc_server_destroy(handle)
        queue.shutDown()
        threads.wait()
        return true
    }
}
