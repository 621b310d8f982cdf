// SPDX-License-Identifier: Apache-2.0

import Linux
import Synchronization

/// The threads that serve calls: one of them leads, that is it waits for what happens on the
/// sockets; the others run calls, or wait for their turn to lead.
///
/// A call runs on the thread that has received it. Before one that may block, the lead goes to
/// another thread; a short one runs without that, since waking a thread takes longer than the call.
final class CallThreads: Sendable {
    typealias Job = @Sendable () -> Void

    private struct State {
        /// The number of the thread that leads; nil while one on its way takes the lead.
        var leader: Int?
        /// How many threads were ever started: the last one's number.
        var started = 0
        /// Threads that exist.
        var total = 0
        /// Those of them that wait for their turn.
        var waiting = 0
        /// Calls for which there was no thread.
        var queue: [Job] = []
        /// No more calls are run.
        var isClosed = false
        /// There is nothing to lead any more.
        var isOver = false
    }

    /// Why a call is not run.
    enum Refusal: Error {
        /// Too many wait already.
        case busy
        /// The service stops.
        case closed
    }

    private let most: Int
    private let kept: Int
    private let queueLimit: Int
    private let next: @Sendable () -> Bool
    private let state = Mutex(State())
    /// Signalled once for each thread that is to stop waiting.
    private let turn = Semaphore()
    /// Calls that run or are queued.
    private let unfinished = Monitor(0)
    private let threads = ThreadGroup()

    /// Starts the first thread.
    ///
    /// - Parameters:
    ///   - most: the most threads at once.
    ///   - kept: threads that stay and wait for their turn, while there is nothing else to do.
    ///   - queueLimit: calls that may wait for a thread.
    ///   - next: waits for the next thing to happen and sees to it, on the thread that leads; what
    ///     it has to do for a call goes through `run`. False when nothing will happen any more.
    /// - Throws: `SystemError` if the system has no thread.
    init(
        most: Int,
        kept: Int,
        queueLimit: Int,
        next: @escaping @Sendable () -> Bool
    ) throws(SystemError) {
        self.most = most
        self.kept = kept
        self.queueLimit = queueLimit
        self.next = next
        try startLeader(state.withLock { Self.appointNew(&$0) })
    }

    /// Waits until all threads have ended, which they do once `next` has said that it is over.
    func wait() {
        threads.wait()
    }

    /// Runs a call, or has it run; called by the thread that leads.
    ///
    /// - Parameters:
    ///   - isShort: whether the call blocks for a moment only, or calls `passLead` before it does.
    ///   - job: the call.
    /// - Throws: why it will never run.
    func run(isShort: Bool, _ job: @escaping Job) throws(Refusal) {
        guard !state.withLock({ $0.isClosed }) else { throw .closed }
        unfinished.update { $0 += 1 }
        if isShort || passLead() {
            finish(job)
            return
        }
        let isQueued = state.withLock { state in
            guard state.queue.count < queueLimit else { return false }
            state.queue.append(job)
            return true
        }
        guard isQueued else {
            unfinished.update { $0 -= 1 }
            throw .busy
        }
    }

    private func finish(_ job: Job) {
        job()
        unfinished.update { $0 -= 1 }
    }

    /// Gives the lead to another thread; called by the thread that leads, which goes on with its
    /// call.
    ///
    /// - Returns: false if all threads there may be are busy: then this one leads still.
    @discardableResult
    func passLead() -> Bool {
        enum Successor {
            case waiting
            case new(Int, instead: Int?)
        }
        let successor: Successor? = state.withLock { state in
            if state.waiting > 0 {
                state.waiting -= 1
                state.leader = nil
                return .waiting
            }
            guard state.total < most else { return nil }
            let leader = state.leader
            return .new(Self.appointNew(&state), instead: leader)
        }
        switch successor {
        case nil: return false
        case .waiting: turn.signal()
        case .new(let number, let leader):
            do {
                try startLeader(number)
            } catch {
                state.withLock { state in
                    state.total -= 1
                    state.leader = leader
                }
                return false
            }
        }
        return true
    }

    private static func appointNew(_ state: inout State) -> Int {
        state.started += 1
        state.total += 1
        state.leader = state.started
        return state.started
    }

    private func startLeader(_ number: Int) throws(SystemError) {
        try threads.start(name: "call") { self.serve(number) }
    }

    /// What a thread does.
    private func serve(_ me: Int) {
        repeat {
            while state.withLock({ $0.leader == me }) {
                if !next() { endAll() }
            }
        } while awaitsTurn(me)
    }

    /// Runs queued calls, then waits.
    ///
    /// - Returns: whether this thread leads now; if not, it is to end.
    private func awaitsTurn(_ me: Int) -> Bool {
        enum Step {
            case run(Job)
            case wait
            case leave
        }
        while true {
            let step: Step = state.withLock { state in
                if !state.queue.isEmpty { return .run(state.queue.removeFirst()) }
                guard !state.isOver, state.waiting < kept else {
                    state.total -= 1
                    return .leave
                }
                state.waiting += 1
                return .wait
            }
            switch step {
            case .run(let job): finish(job)
            case .leave: return false
            case .wait:
                turn.wait()
                let leads = state.withLock { state in
                    if !state.isOver { state.leader = me }
                    return !state.isOver
                }
                if leads { return true }
            }
        }
    }

    private func endAll() {
        let waiting = state.withLock { state in
            state.isOver = true
            state.leader = nil
            defer { state.waiting = 0 }
            return state.waiting
        }
        for _ in 0..<waiting { turn.signal() }
    }

    /// Takes no more calls, and waits for those taken.
    ///
    /// - Parameter milliseconds: how long to wait at most.
    /// - Returns: whether all have ended.
    func close(milliseconds: Int) -> Bool {
        state.withLock { $0.isClosed = true }
        return unfinished.wait(milliseconds: milliseconds) { $0 == 0 ? true : nil } ?? false
    }
}
