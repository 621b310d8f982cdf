// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Linux
import Log

/// The thread that does what no caller has to wait for: measures committed snapshots, writes
/// sidecars, brings the database's log into its file, and deletes the trash.
final class Housekeeper: Sendable {
    private struct State {
        /// Numbers of snapshots whose sidecar may be old, or which are not measured.
        var unsettled: Set<Int64> = []
        var hasTrash = false
        /// Whether the database was changed.
        var hasWritten = false
        /// Images that perhaps no snapshot names any more.
        var released: Set<Digest> = []
        /// How many chores ever came.
        var arrivals = 0
        /// Whether the thread waits for the first chore.
        var isAsleep = true
        var isBusy = false
        /// Nobody wants the delay.
        var isUrgent = false
        /// When the housekeeper was closed, in `CurrentProcess.monotonicNanoseconds`; nil while open.
        var closedAt: UInt64?

        var isClosed: Bool { closedAt != nil }
        var hasChores: Bool { !unsettled.isEmpty || !released.isEmpty || hasTrash || hasWritten }
        var isImpatient: Bool { isUrgent || isClosed }
    }

    /// Chores are done when none has come for so long: the calls of a pull come in quick succession,
    /// and syncs of our own between them would make them slow.
    private static let delay = 500
    /// After so many delays chores are done even while others come.
    private static let delayLimit = 20
    /// How long `close` may take.
    private static let closeNanoseconds: UInt64 = 1_000_000_000

    private enum Chore: Sendable {
        case settle(Int64)
        case checkpoint
        case release(Digest)
        case emptyTrash
        case end
    }

    private let store: SnapshotStore
    private let directories: SnapshotDirectories
    private let images: LazyImages?
    private let logger: Logger
    private let state = Monitor(State())
    /// Signalled for the first chore, and by those who are impatient; not by every chore, since the
    /// calls that bring them would wait for this thread to wake.
    private let wake = Semaphore()
    private let threads = ThreadGroup()

    /// A housekeeper whose thread is running.
    ///
    /// - Throws: `SystemError` if there is no thread.
    init(
        _ store: SnapshotStore,
        _ directories: SnapshotDirectories,
        _ images: LazyImages?,
        _ logger: Logger
    ) throws(SystemError) {
        self.images = images
        self.store = store
        self.directories = directories
        self.logger = logger
        // The thread holds the housekeeper until `close`.
        try threads.start(name: "housekeeper") { self.run() }
    }

    /// Has the trash emptied soon.
    func emptyTrash() {
        add { $0.hasTrash = true }
    }

    /// Has an image let go, unless a snapshot still names it.
    func release(_ image: Digest) {
        add { $0.released.insert(image) }
    }

    /// Has a snapshot measured, if it is committed, and its sidecar written.
    func settle(_ id: Int64) {
        add { state in
            state.unsettled.insert(id)
            state.hasWritten = true
        }
    }

    private func add(_ change: (inout State) -> Void) {
        let isFirst = state.update { state in
            change(&state)
            state.arrivals += 1
            defer { state.isAsleep = false }
            return state.isAsleep
        }
        if isFirst { wake.signal() }
    }

    /// Waits until there is nothing to do.
    func waitUntilIdle() {
        state.update { $0.isUrgent = true }
        wake.signal()
        _ = state.wait { state -> Bool? in
            !state.hasChores && !state.isBusy ? true : nil
        }
        state.update { $0.isUrgent = false }
    }

    /// Ends the thread, after bringing up to date as many sidecars as it can in a moment; the others
    /// and the trash are left for the next start.
    func close() {
        state.update { $0.closedAt = CurrentProcess.monotonicNanoseconds }
        wake.signal()
        threads.wait()
    }

    private func run() {
        var told: Set<String> = []
        while true {
            wake.wait()
            let arrivals = awaitQuiet()
            if !work(&told, arrivals) { return }
        }
    }

    /// Waits until no more chores come.
    ///
    /// - Returns: how many have come when they are to be done; nil if they are to be done although
    ///   more come.
    private func awaitQuiet() -> Int? {
        var seen: Int?
        for _ in 0...Self.delayLimit {
            let (arrivals, isImpatient) = state.update { ($0.arrivals, $0.isImpatient) }
            if isImpatient { return nil }
            if arrivals == seen { return arrivals }
            seen = arrivals
            // Signalled by the impatient alone, as there is a chore.
            _ = wake.wait(milliseconds: Self.delay)
        }
        return nil
    }

    /// Does all chores there are, or those before others come.
    ///
    /// - Parameters:
    ///   - told: what was warned of.
    ///   - arrivals: how many had come when it was quiet; nil if that does not matter.
    /// - Returns: false if the housekeeper is closed.
    private func work(_ told: inout Set<String>, _ arrivals: Int?) -> Bool {
        while true {
            let (chore, isDisturbed) = state.update { state in
                let isDisturbed = !state.isImpatient && state.arrivals != arrivals ?? state.arrivals
                return (isDisturbed ? nil : Self.next(&state), isDisturbed)
            }
            switch chore {
            case .settle(let id): settleNow(id)
            case .checkpoint: checkpointNow()
            case .release(let image): releaseNow(image)
            case .emptyTrash: emptyTrashNow(&told)
            case .end: return false
            case nil:
                // Not asleep: what is left waits for the next quiet moment.
                if isDisturbed { wake.signal() }
                return true
            }
            state.update { $0.isBusy = false }
        }
    }

    /// Sidecars come first: deleting may take minutes.
    private static func next(_ state: inout State) -> Chore? {
        if let closedAt = state.closedAt,
            CurrentProcess.monotonicNanoseconds - closedAt > Self.closeNanoseconds
        {
            return .end
        }
        if !state.unsettled.isEmpty {
            state.isBusy = true
            return .settle(state.unsettled.removeFirst())
        }
        if state.isClosed { return .end }
        if state.hasWritten {
            state.isBusy = true
            state.hasWritten = false
            return .checkpoint
        }
        if let image = state.released.popFirst() {
            state.isBusy = true
            // Its files are in the trash then.
            state.hasTrash = true
            return .release(image)
        }
        guard state.hasTrash else {
            state.isAsleep = true
            return nil
        }
        state.isBusy = true
        state.hasTrash = false
        return .emptyTrash
    }

    private func checkpointNow() {
        do {
            try store.checkpoint()
        } catch {
            logger.warning("the database's log stays long", ["error": "\(error)"])
        }
    }

    private func releaseNow(_ image: Digest) {
        do {
            try images?.release(image)
        } catch {
            logger.warning("an image stays", ["image": image, "error": "\(error)"])
        }
    }

    private func settleNow(_ id: Int64) {
        do {
            guard var record = try store.read({ try $0.snapshot(id: id)?.record }) else { return }
            if record.kind == .committed, record.usage == nil {
                // A shutdown does not wait for a large layer; the next start measures it.
                guard state.update({ !$0.isClosed }) else { return }
                let usage = try Self.measure(directories.upper(id))
                // Lost in a power cut, it is measured once more.
                let found = try store.write("measure", isDurable: false) { rows in
                    guard var current = try rows.snapshot(id: id) else {
                        return SnapshotRecord?.none
                    }
                    current.record.usage = usage
                    try rows.replace(current)
                    return current.record
                }
                guard let found else { return }
                record = found
            }
            try directories.rewriteSidecar(record)
        } catch let error as SystemError where error.isNotFound {
            // Removed meanwhile.
            return
        } catch {
            logger.warning(
                "a snapshot's sidecar is not up to date",
                ["snapshot": "\(id)", "error": "\(error)"]
            )
        }
    }

    /// What a snapshot's own files take.
    static func measure(_ path: String) throws(SystemError) -> SnapshotUsage {
        let usage = try DiskUsage(ofDirectory: path)
        return SnapshotUsage(
            inodes: Int64(clamping: usage.inodeCount),
            size: Int64(clamping: usage.byteCount)
        )
    }

    private func emptyTrashNow(_ told: inout Set<String>) {
        do {
            let reasons = try Trash.empty(directories.trash) { [state] in
                state.update { state in
                    guard state.isClosed || !state.unsettled.isEmpty else { return true }
                    // The rest of it after what is due first.
                    state.hasTrash = true
                    return false
                }
            }
            for reason in reasons where told.insert("\(reason)").inserted {
                logger.warning("kept in the trash", ["error": "\(reason)"])
            }
        } catch {
            logger.warning("the trash cannot be emptied", ["error": "\(error)"])
        }
    }
}
