// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A store of descriptors in a process of its own, which is started when it is needed, and again
/// when it has died.
///
/// The descriptors are here as well while the service lives, so that a new holder gets them all.
package final class HolderStore: DescriptorStore {
    /// What happens to the holder.
    package enum Event: Sendable {
        /// It has ended, and another one has everything.
        case replaced
        /// There is none: what is served does not outlive the process.
        case lost(SystemError)
    }

    private struct State {
        var connection: HolderConnection?
        var kept: [StoredDescriptor] = []
        var isClosed = false
    }

    /// How the process is started that is given the listening socket; it must not wait for it.
    package typealias Starter = @Sendable (Int32) throws(SystemError) -> Void

    /// How often a holder that does not answer is asked for what it has, 10 s each time.
    private static let attempts = 6
    /// How long after a failure the next try is made, in milliseconds.
    private static let pause = 10_000

    private let place: HolderSocket
    private let start: Starter?
    private let report: @Sendable (Event) -> Void
    private let state = Monitor(State())
    private let threads = ThreadGroup()

    /// A store; nobody is asked and nothing started yet.
    ///
    /// - Parameters:
    ///   - path: where the holder listens, in a directory that only its owner may enter.
    ///   - start: starts the process that is given the listening socket; nil to use only one that
    ///     runs.
    ///   - report: told what happens to the holder.
    package init(
        _ path: String,
        start: Starter?,
        report: @escaping @Sendable (Event) -> Void = { _ in }
    ) {
        place = HolderSocket(path)
        self.start = start
        self.report = report
    }

    package func inherited() throws(SystemError) -> [StoredDescriptor] {
        try state.update { (state) throws(SystemError) in
            // However long it takes to answer: it has what nobody else has.
            for _ in 1..<Self.attempts {
                do throws(SystemError) {
                    return try inherited(&state)
                } catch  where error.code == EAGAIN {
                    continue
                }
            }
            return try inherited(&state)
        }
    }

    private func inherited(
        _ state: inout State
    ) throws(SystemError) -> [StoredDescriptor] {
        guard let connection = try connected(&state, starting: false) else { return [] }
        let stored: [StoredDescriptor]
        do throws(SystemError) {
            stored = try Self.list(connection)
        } catch {
            // The rest of the answer is still to come on it.
            connection.shutDown()
            state.connection = nil
            throw error
        }
        // The next holder gets them, too.
        let names = Set(stored.map(\.name))
        state.kept.removeAll { names.contains($0.name) }
        state.kept += stored
        return stored
    }

    package func put(_ name: String, _ descriptor: Int32) throws(SystemError) {
        let copy = try OwnedDescriptor.duplicate(of: descriptor, name)
        let stored = StoredDescriptor(name, copy)
        try state.update { (state) throws(SystemError) in
            state.kept.removeAll { $0.name == name }
            state.kept.append(stored)
            do throws(SystemError) {
                guard let connection = try connected(&state) else {
                    throw SystemError("put", "\(place.path), where nobody listens", code: ENOTCONN)
                }
                try Self.put(stored, connection)
                return
            } catch {
                state.connection?.shutDown()
                state.connection = nil
            }
            // It has died since: the next one gets everything.
            do throws(SystemError) {
                _ = try connected(&state)
            } catch {
                state.kept.removeAll { $0 === stored }
                throw error
            }
        }
    }

    package func remove(_ name: String) {
        state.update { state in
            state.kept.removeAll { $0.name == name }
            // One that has died has it no more; one that is started gets it no more.
            guard let connection = state.connection else { return }
            let message = HolderMessage(kind: .remove, name: name)
            if (try? Self.exchange(message, connection: connection)) == nil {
                connection.shutDown()
            }
        }
    }

    /// Ends the connection: what is kept stays with the holder.
    package func close() {
        state.update { state in
            state.isClosed = true
            state.connection?.shutDown()
            state.connection = nil
            state.kept = []
        }
        threads.wait()
    }

    /// The connection, made if there is none; the other side has all that is kept then.
    ///
    /// - Parameters:
    ///   - state: keeps the connection.
    ///   - starting: whether a holder is started if none runs.
    /// - Returns: it; nil if no holder runs and none is to be started.
    /// - Throws: `SystemError` if there is no connection, or the other side does not take what is
    ///   kept.
    private func connected(
        _ state: inout State,
        starting: Bool = true
    ) throws(SystemError) -> HolderConnection? {
        if let connection = state.connection { return connection }
        guard !state.isClosed else { return nil }
        let connection: HolderConnection
        if let running = try place.connect(), try isAnswering(running, orStarting: starting) {
            connection = running
        } else if starting, let start {
            connection = try place.start(start)
        } else {
            return nil
        }
        for stored in state.kept { try Self.put(stored, connection) }
        state.connection = connection
        try watch(connection)
        return connection
    }

    /// Whether the other side answers.
    ///
    /// - Throws: `SystemError`: EAGAIN if it has not in time and no other one is to be started; what
    ///   ran out here, which says nothing about the other side.
    private func isAnswering(
        _ connection: HolderConnection,
        orStarting isReplaceable: Bool
    ) throws(SystemError) -> Bool {
        do throws(SystemError) {
            _ = try Self.list(connection)
            return true
        } catch {
            let isSlow = error.code == EAGAIN
            guard isSlow ? isReplaceable : !error.isShortage else { throw error }
            return false
        }
    }

    /// Has a thread wait for the end of the connection.
    private func watch(_ connection: HolderConnection) throws(SystemError) {
        try threads.start(name: "holder") {
            // Not for what it answers, which others read.
            var polled = pollfd(fd: connection.number, events: 0, revents: 0)
            while polled.revents == 0 {
                guard unsafe poll(&polled, 1, -1) >= 0 || errno == EINTR else { return }
            }
            self.replace(connection)
        }
    }

    /// Finds or starts another holder, as long as it takes.
    private func replace(_ connection: HolderConnection) {
        while true {
            do throws(SystemError) {
                let isReplaced = try state.update { (state) throws(SystemError) -> Bool in
                    // Others may have been quicker.
                    guard !state.isClosed, start != nil else { return false }
                    if let other = state.connection, other !== connection { return true }
                    state.connection = nil
                    return try connected(&state, starting: !state.kept.isEmpty) != nil
                }
                if isReplaced { report(.replaced) }
                return
            } catch {
                report(.lost(error))
                let isOver = state.wait(milliseconds: Self.pause) { $0.isClosed ? true : nil }
                if isOver == true { return }
            }
        }
    }
}

/// What is said on a connection.
extension HolderStore {
    private static func put(
        _ stored: StoredDescriptor,
        _ connection: HolderConnection
    ) throws(SystemError) {
        let message = HolderMessage(kind: .put, name: stored.name)
        try exchange(message, stored.number, connection: connection)
    }

    private static func exchange(
        _ message: HolderMessage,
        _ descriptor: Int32 = -1,
        connection: HolderConnection
    ) throws(SystemError) {
        try connection.send(message, descriptor)
        guard let answer = try connection.receive()?.message else { throw ended }
        guard answer.kind == .done else {
            throw SystemError("put", "the holder: \(answer.name)", code: EPROTO)
        }
    }

    private static func list(
        _ connection: HolderConnection
    ) throws(SystemError) -> [StoredDescriptor] {
        try connection.send(HolderMessage(kind: .list))
        var result: [StoredDescriptor] = []
        while let packet = try connection.receive() {
            if packet.lacksRoom { throw SystemError("recvmsg", "a descriptor", code: EMFILE) }
            guard let message = packet.message, message.kind == .item else {
                guard packet.message?.kind == .done else { throw ended }
                return result
            }
            // Without a descriptor this process has no room for it.
            guard let stored = packet.stored else {
                throw SystemError("recvmsg", message.name, code: EMFILE)
            }
            result.append(stored)
        }
        throw ended
    }

    private static var ended: SystemError {
        SystemError("recvmsg", "the holder, which has ended", code: ECONNRESET)
    }
}

extension SystemError {
    /// A descriptor that no store has.
    ///
    /// - Parameter name: its name.
    /// - Returns: the error.
    package static func notKept(_ name: String) -> SystemError {
        SystemError("take over", "\(name): whoever kept its descriptor has ended", code: EBADF)
    }

    /// A program that could be started, and failed then.
    ///
    /// - Parameters:
    ///   - program: the program.
    ///   - status: its exit status.
    /// - Returns: the error.
    package static func failedStart(_ program: String, status: Int32) -> SystemError {
        SystemError("start", "\(program), which exited with \(status)", code: ECHILD)
    }
}
