// SPDX-License-Identifier: Apache-2.0

import CFuse
import Glibc
package import Linux
import Synchronization

/// The threads that serve all sessions of the process.
///
/// One pool for all: a loop of threads per mount costs thousands of threads with hundreds of
/// mounts. Workers outnumber cores because they wait for the disk, never for the network: a read
/// whose data is not here is parked.
package final class FuseWorkers: Sendable {
    /// What a worker has while it lives: nothing is allocated for a request.
    @safe
    private struct Desk: ~Copyable {
        /// Filled by libfuse, whose malloc made it when it received for the first time.
        var request = unsafe fuse_buf()

        deinit {
            unsafe free(request.mem)
        }
    }

    private struct Sessions {
        var byToken: [UInt64: FuseSession] = [:]
        var lastToken = FuseWorkers.stopToken
    }

    private static let stopToken: UInt64 = 0
    /// How many requests of one session a worker serves before it looks at the others.
    private static let requestsPerTurn = 64
    /// How long a worker that answered from memory looks for the next request before it sleeps: one
    /// reader's 4 KiB reads went from 24 k to 63 k a second with it.
    private static let spinNanoseconds = 50_000

    private let epoll: Epoll
    private let stopFlag: EventFlag
    private let sessions = Monitor(Sessions())
    private let threads = ThreadGroup()
    /// Whether a worker spins: one at a time, since more of them take the cores from the readers.
    private let isSpinning = Atomic(false)
    /// How many workers can answer from memory at once.
    private let processors: Int
    /// After so many requests that were there already, a worker has another one look as well.
    private static let helpInterval = 4

    /// Starts the workers.
    ///
    /// - Parameter count: how many; at least 1.
    /// - Throws: `SystemError` if there is no thread, memory or descriptor for them.
    package init(count: Int = 16) throws(SystemError) {
        processors = CurrentProcess.processorCount
        epoll = try Epoll()
        stopFlag = try EventFlag()
        try epoll.add(stopFlag.number, token: Self.stopToken, reporting: .always)
        do {
            for index in 0..<max(count, 1) {
                let box = MemoryBox(try AnonymousMemory(byteCount: FuseSession.largestRead))
                try threads.start(name: "fuse-\(index)") { self.work(box) }
            }
        } catch {
            stop()
            throw error
        }
    }

    /// Carries a worker's memory into its thread's closure.
    private final class MemoryBox: Sendable {
        let memory: AnonymousMemory

        init(_ memory: consuming AnonymousMemory) {
            self.memory = memory
        }
    }

    /// Serves a session until it ends.
    ///
    /// - Parameter session: a mounted session.
    /// - Throws: `SystemError` if the kernel refuses to watch its descriptor.
    package func serve(_ session: FuseSession) throws(SystemError) {
        let token = sessions.update { sessions in
            sessions.lastToken += 1
            sessions.byToken[sessions.lastToken] = session
            return sessions.lastToken
        }
        session.watch.attach(to: self, descriptor: session.descriptor, token: token)
        do {
            try epoll.add(session.descriptor, token: token, reporting: .once)
        } catch {
            sessions.update { _ = $0.byToken.removeValue(forKey: token) }
            throw error
        }
    }

    /// Ends the workers and waits for them; sessions they serve are served no more.
    package func stop() {
        stopFlag.raise()
        threads.wait()
    }

    private func work(_ box: MemoryBox) {
        unsafe cfuse_set_worker_memory(box.memory.bytes.baseAddress)
        var desk = Desk()
        while let token = try? epoll.wait(), token != Self.stopToken {
            guard let session = sessions.update({ $0.byToken[token] }) else { continue }
            serve(session, token, &desk)
        }
    }

    /// Serves what a session has at the moment.
    ///
    /// The session is reported to one worker, and to nobody else while that one answers from
    /// memory. (Level triggered, a request woke ten workers for nothing; armed again for each
    /// request, it woke one of them.)
    private func serve(_ session: FuseSession, _ token: UInt64, _ desk: inout Desk) {
        session.watch.joinReported()
        var backlog = 0
        for _ in 0..<Self.requestsPerTurn {
            var received = unsafe session.receive(&desk.request)
            if received == .nothing {
                backlog = 0
                // A reader that was answered from storage goes on sooner if the processor it slept
                // on is free: 55 instead of 75 us a read.
                if !session.watch.takeWait() { received = spin(session, &desk) }
            } else {
                backlog += 1
                if backlog % Self.helpInterval == 0 { session.watch.callHelp(limit: processors) }
            }
            switch received {
            case .request:
                unsafe session.process(&desk.request)
            case .nothing:
                return session.watch.leave()
            case .end:
                return end(session, token)
            }
        }
        session.watch.leave()
    }

    /// Has a session reported again; one that another worker saw end is forgotten already.
    func rearm(_ descriptor: Int32, token: UInt64) {
        try? epoll.rearm(descriptor, token: token)
    }

    /// Has a session not reported before it is armed again.
    func disarm(_ descriptor: Int32, token: UInt64) {
        try? epoll.disarm(descriptor, token: token)
    }

    /// Looks for a request again and again for a moment, unless another worker does.
    private func spin(_ session: FuseSession, _ desk: inout Desk) -> FuseSession.Received {
        guard !isSpinning.exchange(true, ordering: .relaxed) else { return .nothing }
        defer { isSpinning.store(false, ordering: .relaxed) }
        let deadline = Self.now() + Self.spinNanoseconds
        while Self.now() < deadline {
            let received = unsafe session.receive(&desk.request)
            if received != .nothing { return received }
        }
        return .nothing
    }

    private static func now() -> Int {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// Forgets a session; of several workers that see its end, the first does it.
    private func end(_ session: FuseSession, _ token: UInt64) {
        guard sessions.update({ $0.byToken.removeValue(forKey: token) }) != nil else { return }
        epoll.remove(session.descriptor)
        session.markEnded()
    }
}
