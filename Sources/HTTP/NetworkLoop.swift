// SPDX-License-Identifier: Apache-2.0

import CCurl
import Linux
import Synchronization

/// The network thread: all requests of a client, in one multi handle of libcurl's.
///
/// 1. Everything of libcurl's is touched by the thread only, but for `curl_multi_wakeup`, which
///    any thread may call while the multi handle lives: it does as long as this object.
/// 2. Others leave commands in a queue. A transfer ends by itself, or by a command; then, and only
///    then, is its receiver's `end` called.
/// 3. The thread keeps this object alive until a `stop` command.
@safe
final class NetworkLoop: @unchecked Sendable {
    enum Command: Sendable {
        case start(UInt64, HTTPRequest, any HTTPReceiver)
        case resume(UInt64)
        case cancel(UInt64)
        case stop
    }

    private struct Queue {
        var commands: [Command] = []
        var isStopped = false
    }

    private let multi: UnsafeMutableRawPointer
    private let userAgent: String
    private let queue = Mutex(Queue())
    private let lastID = Atomic<UInt64>(0)
    // The thread's own.
    private var transfers: [UInt64: Transfer] = [:]
    private var ids: [UInt: UInt64] = [:]

    /// Connections to one host at once; more requests wait for one of them.
    private static let hostConnections = 16
    /// Connections that are kept for later requests.
    private static let keptConnections = 32
    /// How long to sleep without anything to do; a command wakes the thread.
    private static let idleMilliseconds: Int32 = 60_000

    /// libcurl, ready once for the process: not before it is needed, it takes milliseconds.
    private static let isReady: Bool = {
        NameService.useFilesAndDNS()
        return curl_global_init(ccurl_global_all()) == CURLE_OK
    }()

    /// Starts the thread.
    ///
    /// - Throws: `HTTPError` if memory or threads ran out.
    static func start(userAgent: String) throws(HTTPError) -> NetworkLoop {
        guard isReady, let multi = unsafe curl_multi_init() else {
            throw HTTPError(.exhausted, "libcurl does not start")
        }
        let loop = unsafe NetworkLoop(multi, userAgent)
        do throws(SystemError) {
            try WorkerThread(name: "network") { loop.run() }.detach()
        } catch {
            throw HTTPError(.exhausted, error.description)
        }
        return loop
    }

    private init(_ multi: UnsafeMutableRawPointer, _ userAgent: String) {
        unsafe self.multi = multi
        self.userAgent = userAgent
        unsafe ccurl_multi_set_long(multi, CURLMOPT_MAX_HOST_CONNECTIONS, Self.hostConnections)
        unsafe ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, Self.keptConnections)
    }

    deinit {
        unsafe curl_multi_cleanup(multi)
    }

    /// A number for a new exchange.
    func makeID() -> UInt64 { lastID.wrappingAdd(1, ordering: .relaxed).newValue }

    /// Leaves a command; any thread may.
    func post(_ command: Command) {
        let isStopped = queue.withLock { queue in
            if !queue.isStopped { queue.commands.append(command) }
            return queue.isStopped
        }
        if isStopped {
            guard case .start(_, let request, let receiver) = command else { return }
            receiver.end(HTTPError(.cancelled, "the client is closed").of(request))
        } else {
            _ = unsafe curl_multi_wakeup(multi)
        }
    }

    private func run() {
        // Those are for the threads that were made for them.
        blockSignals()
        while obey() {
            var running: Int32 = 0
            _ = unsafe curl_multi_perform(multi, &running)
            finishTransfers()
            _ = unsafe curl_multi_poll(multi, nil, 0, Self.idleMilliseconds, nil)
        }
        for id in Array(transfers.keys) { end(id, HTTPError(.cancelled, "the client is closed")) }
    }

    /// Does what the queue says.
    ///
    /// - Returns: whether to go on.
    private func obey() -> Bool {
        let commands = queue.withLock { queue in
            var taken: [Command] = []
            swap(&taken, &queue.commands)
            for case .stop in taken { queue.isStopped = true }
            return taken
        }
        var isStopped = false
        for command in commands {
            switch command {
            case .start(let id, let request, let receiver): start(id, request, receiver)
            case .resume(let id): resume(id)
            case .cancel(let id): end(id, HTTPError(.cancelled, "given up"))
            case .stop: isStopped = true
            }
        }
        return !isStopped
    }

    private func start(_ id: UInt64, _ request: HTTPRequest, _ receiver: any HTTPReceiver) {
        let transfer: Transfer
        do throws(HTTPError) {
            transfer = Transfer(
                try EasyHandle(request, userAgent: userAgent),
                request,
                receiver
            )
        } catch {
            receiver.end(error)
            return
        }
        transfers[id] = transfer
        ids[transfer.easy.number] = id
        guard unsafe curl_multi_add_handle(multi, transfer.easy.handle) == CURLM_OK else {
            end(id, HTTPError(.exhausted, "libcurl takes no more requests"))
            return
        }
    }

    private func resume(_ id: UInt64) {
        guard let transfer = transfers[id] else { return }
        // Offers what it kept at once.
        _ = unsafe curl_easy_pause(transfer.easy.handle, ccurl_pause_nothing())
    }

    private func finishTransfers() {
        var left: Int32 = 0
        while let message = unsafe curl_multi_info_read(multi, &left) {
            guard unsafe message.pointee.msg == CURLMSG_DONE,
                let handle = unsafe message.pointee.easy_handle,
                let id = ids[UInt(bitPattern: handle)],
                let transfer = transfers[id]
            else { continue }
            let code = unsafe ccurl_result(message)
            end(id, code == CURLE_OK ? nil : transfer.easy.error(code))
        }
    }

    private func end(_ id: UInt64, _ error: HTTPError?) {
        guard let transfer = transfers.removeValue(forKey: id) else { return }
        ids[transfer.easy.number] = nil
        unsafe curl_multi_remove_handle(multi, transfer.easy.handle)
        transfer.end(error)
    }
}

/// A transfer with who asked for it; the network thread's own.
private final class Transfer {
    let easy: EasyHandle
    private let request: HTTPRequest
    private let receiver: any HTTPReceiver
    private var head = HeadParser()
    private var hasHead = false
    /// Why the receiver wants no more.
    private var refusal: HTTPError?

    /// Not one of the bytes that libcurl offered: it then ends the transfer.
    private static let none = 0

    init(_ easy: EasyHandle, _ request: HTTPRequest, _ receiver: any HTTPReceiver) {
        self.easy = easy
        self.request = request
        self.receiver = receiver
        // Not retained: libcurl calls back only while the loop has this object in its table.
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe easy.setFunctions(
            context,
            head: { bytes, size, count, context in
                guard let context = unsafe context else { return Transfer.none }
                let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
                return unsafe transfer.takeHead(
                    UnsafeRawBufferPointer(start: bytes, count: size &* count)
                )
            },
            body: { bytes, size, count, context in
                guard let context = unsafe context else { return Transfer.none }
                let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
                return unsafe transfer.takeBody(
                    UnsafeRawBufferPointer(start: bytes, count: size &* count)
                )
            }
        )
    }

    private func takeHead(_ line: UnsafeRawBufferPointer) -> Int {
        switch unsafe head.take(line) {
        case .more:
            return line.count
        case .tooLarge:
            refusal = HTTPError(.tooLarge, "more than \(HeadParser.limit >> 10) KiB of headers")
            return Self.none
        case .complete(let head):
            hasHead = true
            refusal = receiver.begin(head)
            return refusal == nil ? line.count : Self.none
        }
    }

    private func takeBody(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard bytes.count > 0 else { return 0 }
        switch unsafe receiver.take(RawSpan(_unsafeBytes: bytes)) {
        case .taken: return bytes.count
        case .full: return Int(CURL_WRITEFUNC_PAUSE)
        case .refused(let error):
            refusal = error
            return Self.none
        }
    }

    func end(_ error: HTTPError?) {
        var error = refusal ?? error
        if error == nil, !hasHead { error = HTTPError(.malformed, "a response without a head") }
        receiver.end(error?.of(request))
    }
}
