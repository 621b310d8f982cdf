// SPDX-License-Identifier: Apache-2.0

import CEvent
import Containerd
package import Linux
package import OCI

/// What the admin socket tells; asked on its thread, and may block.
package protocol AdminProvider: AnyObject, Sendable {
    /// Why the service is not healthy; nil if it is.
    func fault() -> String?
    /// The metrics in Prometheus' text format.
    func metrics() -> String
    /// The state, an object.
    func state() -> JSONValue
}

/// Serves `/healthz`, `/metrics` and `/state` on a unix socket that only its owner may use.
@safe
package final class AdminServer: @unchecked Sendable {
    // @unchecked: libevent's objects are used by the server's thread alone, between `init` and
    // `stop`; what follows does not change.
    private let provider: any AdminProvider
    private let socket: ServiceSocket
    private let end: EventFlag
    private let base: OpaquePointer
    private let server: OpaquePointer
    private let event: OpaquePointer
    private let thread = ThreadGroup()

    /// Starts to serve.
    ///
    /// - Parameters:
    ///   - provider: who knows.
    ///   - address: the socket's absolute path; its directory exists.
    /// - Throws: `SystemError` as `ServiceSocket` has them, or if there is no memory or thread.
    package init(_ provider: any AdminProvider, address: String) throws(SystemError) {
        self.provider = provider
        socket = try ServiceSocket(claiming: address)
        end = try EventFlag()
        guard let base = unsafe event_base_new(), let server = unsafe evhttp_new(base),
            let event = unsafe event_new(
                base,
                end.number,
                Int16(EV_READ),
                { _, _, base in unsafe event_base_loopbreak(OpaquePointer(base)) },
                UnsafeMutableRawPointer(base)
            )
        else { throw SystemError.noMemory("event_base_new", address) }
        unsafe self.base = base
        unsafe self.server = server
        unsafe self.event = event
        unsafe event_add(event, nil)
        unsafe evhttp_set_allowed_methods(server, UInt16(EVHTTP_REQ_GET.rawValue))
        unsafe evhttp_set_max_headers_size(server, 16 << 10)
        unsafe evhttp_set_max_body_size(server, 0)
        unsafe evhttp_set_timeout(server, 10)
        // Unretained: `stop` waits for the thread, which is the only one that calls back.
        unsafe evhttp_set_gencb(
            server,
            { request, context in
                guard let request = unsafe request, let context = unsafe context else { return }
                unsafe Unmanaged<AdminServer>.fromOpaque(context).takeUnretainedValue()
                    .answer(request)
            },
            Unmanaged.passUnretained(self).toOpaque()
        )
        let listener = try socket.listen()
        // From here on the descriptor is libevent's.
        guard unsafe evhttp_accept_socket(server, listener.release()) == 0 else {
            throw SystemError.noMemory("evhttp_accept_socket", address)
        }
        try thread.start(name: "admin") { [self] in unsafe event_base_dispatch(self.base) }
        try socket.publish(mode: 0o600)
    }

    /// Stops; to be called once.
    package func stop() {
        socket.remove()
        end.raise()
        thread.wait()
        unsafe event_free(event)
        unsafe evhttp_free(server)
        unsafe event_base_free(base)
    }

    private func answer(_ request: OpaquePointer) {
        let path = unsafe evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request))
        switch unsafe path.map({ unsafe String(cString: $0) }) {
        case "/healthz":
            let fault = provider.fault()
            unsafe reply(
                to: request,
                fault == nil ? 200 : 503,
                "text/plain",
                Array("\(fault ?? "ok")\n".utf8)
            )
        case "/metrics":
            unsafe reply(
                to: request,
                200,
                "text/plain; version=0.0.4",
                Array(provider.metrics().utf8)
            )
        case "/state":
            unsafe reply(to: request, 200, "application/json", provider.state().serialized())
        default:
            unsafe reply(
                to: request,
                404,
                "text/plain",
                Array("there are /healthz, /metrics, /state\n".utf8)
            )
        }
    }

    private func reply(to request: OpaquePointer, _ code: Int32, _ type: String, _ body: [UInt8]) {
        let headers = unsafe evhttp_request_get_output_headers(request)
        unsafe evhttp_add_header(headers, "Content-Type", type)
        let buffer = unsafe evbuffer_new()
        unsafe evbuffer_add(buffer, body, body.count)
        unsafe evhttp_send_reply(request, code, nil, buffer)
        unsafe evbuffer_free(buffer)
    }
}
