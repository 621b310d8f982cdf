// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The process that keeps a service's descriptors while the service is away.
///
/// It has one thread and does as little as possible, so that nothing ends it: it takes descriptors
/// in, gives them out, and lets those go whose mount has ended. It ends when it has none and nobody
/// is connected.
package struct DescriptorHolder: ~Copyable {
    private let listener: OwnedDescriptor
    private var clients: [HolderConnection] = []
    private var kept: [StoredDescriptor] = []

    /// What a service passes to the process that it starts: the socket to listen on.
    private static let inheritedDescriptor: Int32 = 3
    /// How long it stays without anything to keep, in milliseconds: a service that is restarted is
    /// back by then.
    private static let idleTime: Int32 = 5_000
    /// How often it looks for mounts that have ended while no service is there to say so, in
    /// milliseconds.
    private static let interval: Int32 = 60_000
    /// One service, and what an administrator does by hand.
    private static let clientLimit = 16

    /// A holder that has nothing.
    ///
    /// - Parameter listener: a listening socket of sequenced packets.
    package init(listening listener: consuming OwnedDescriptor) {
        self.listener = listener
    }

    /// A holder that listens on what this process was given.
    package init() {
        _ = clinux_set_close_on_exec(Self.inheritedDescriptor)
        self.init(listening: OwnedDescriptor(owning: Self.inheritedDescriptor))
    }

    /// Whether this process was given a listening socket.
    package static var hasListener: Bool {
        var isListening: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        let option = Int32(SO_ACCEPTCONN)
        let code = unsafe getsockopt(
            inheritedDescriptor,
            SOL_SOCKET,
            option,
            &isListening,
            &size
        )
        return code == 0 && isListening != 0
    }

    /// Makes this process independent of the service that started it, before it goes to the
    /// background: nothing that the service has open stays open with it, no signal is blocked, and
    /// those that ask a service to end are none of its: with it, the running containers' files would.
    package static func separate() {
        _ = clinux_close_from(inheritedDescriptor + 1)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        _ = unsafe pthread_sigmask(SIG_SETMASK, &set, nil)
        for number in [SIGHUP, SIGINT, SIGTERM] { _ = signal(number, SIG_IGN) }
        _ = unsafe clinux_set_thread_name(pthread_self(), "lazypull-holder")
        try? ResourceLimits.raiseOpenFiles()
    }

    /// Serves until there is nothing to keep and nobody connected.
    ///
    /// - Throws: `SystemError` if it cannot wait any more.
    package consuming func run() throws(SystemError) {
        while true {
            var polled = [pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0)]
            polled += clients.map { pollfd(fd: $0.number, events: Int16(POLLIN), revents: 0) }
            // Not the kept ones: the kernel would wake this process for every request on them.
            let isIdle = clients.isEmpty && kept.isEmpty
            let time = isIdle ? Self.idleTime : clients.isEmpty ? Self.interval : -1
            let count = try retryingOnInterrupt("poll", "holder") {
                unsafe poll(&polled, nfds_t(polled.count), time)
            }
            if count == 0, isIdle { return }
            if count > 0 { handle(polled.map { $0.revents != 0 }) }
            dropEnded()
        }
    }

    /// Lets go what belongs to mounts that have ended.
    private mutating func dropEnded() {
        kept.removeAll { stored in
            var polled = pollfd(fd: stored.number, events: 0, revents: 0)
            return unsafe poll(&polled, 1, 0) == 1
        }
    }

    /// Does what was reported of listener and clients, in that order.
    private mutating func handle(_ reported: [Bool]) {
        let clients = self.clients
        for (index, client) in clients.enumerated() where reported[1 + index] {
            if !answer(client) { self.clients.removeAll { $0 === client } }
        }
        if reported[0] { accept() }
    }

    private mutating func accept() {
        let number = clinux_accept(listener.number)
        guard number >= 0 else { return }
        let socket = OwnedDescriptor(owning: number)
        guard clients.count < Self.clientLimit, let client = try? HolderConnection(socket) else {
            return
        }
        clients.append(client)
    }

    /// Answers one message.
    ///
    /// - Returns: false if the client has gone.
    private mutating func answer(_ client: HolderConnection) -> Bool {
        do throws(SystemError) {
            guard let packet = try client.receive() else { return false }
            let message = packet.message
            switch message?.kind {
            case .put:
                guard let stored = packet.stored else {
                    try client.send(.refusal("no descriptor came along: the holder has no room"))
                    return true
                }
                kept.removeAll { $0.name == stored.name }
                kept.append(stored)
            case .list:
                for stored in kept {
                    try client.send(HolderMessage(kind: .item, name: stored.name), stored.number)
                }
            case .remove:
                kept.removeAll { $0.name == message?.name }
            case .done, .item, .refused, nil:
                try client.send(.refusal("no request of version \(HolderMessage.version)"))
                return true
            }
            try client.send(HolderMessage(kind: .done))
            return true
        } catch {
            return false
        }
    }
}

extension HolderMessage {
    fileprivate static func refusal(_ reason: String) -> HolderMessage {
        HolderMessage(kind: .refused, name: reason)
    }
}
