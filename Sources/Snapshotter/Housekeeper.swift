// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Linux
import Log

/// The thread that does what no caller has to wait for: measures committed snapshots, brings
/// sidecars up to date, and deletes the trash.
final class Housekeeper: Sendable {
    private struct State {
        /// Numbers of snapshots whose sidecar may be old, or which are not measured, in order.
        var unsettled: [Int64] = []
        var hasTrash = false
        /// Images that perhaps no snapshot names any more.
        var released: Set<Digest> = []
        var isBusy = false
        /// Nobody wants the delay.
        var isUrgent = false
        var isClosed = false

        var hasChores: Bool { !unsettled.isEmpty || !released.isEmpty || hasTrash }
    }

    /// Chores wait so long: the calls of a pull come in quick succession, and syncs of our own
    /// between them would make them slow.
    private static let delay = 500

    private enum Chore: Sendable {
        case settle(Int64)
        case release(Digest)
        case emptyTrash
        case end
    }

    private let store: SnapshotStore
    private let directories: SnapshotDirectories
    private let images: LazyImages?
    private let logger: Logger
    private let state = Monitor(State())
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
        state.update { $0.hasTrash = true }
    }

    /// Has an image let go, unless a snapshot still names it.
    func release(_ image: Digest) {
        state.update { _ = $0.released.insert(image) }
    }

    /// Has a snapshot measured, if it is committed, and its sidecar written.
    func settle(_ id: Int64) {
        state.update { state in
            if !state.unsettled.contains(id) { state.unsettled.append(id) }
        }
    }

    /// Waits until there is nothing to do.
    func waitUntilIdle() {
        state.update { $0.isUrgent = true }
        _ = state.wait { state -> Bool? in
            !state.hasChores && !state.isBusy ? true : nil
        }
        state.update { $0.isUrgent = false }
    }

    /// Brings the sidecars up to date and ends the thread; the trash is left for the next start.
    func close() {
        state.update { $0.isClosed = true }
        threads.wait()
    }

    private func run() {
        var told: Set<String> = []
        while true {
            // Asleep until there is something to do, and then a while longer.
            _ = state.wait { $0.hasChores || $0.isClosed ? true : nil }
            _ = state.wait(milliseconds: Self.delay) { $0.isUrgent || $0.isClosed ? true : nil }
            if !work(&told) { return }
        }
    }

    /// Does all chores there are.
    ///
    /// - Returns: false if the housekeeper is closed.
    private func work(_ told: inout Set<String>) -> Bool {
        while true {
            switch state.update({ Self.next(&$0) }) {
            case .settle(let id): settleNow(id)
            case .release(let image): releaseNow(image)
            case .emptyTrash: emptyTrashNow(&told)
            case .end: return false
            case nil: return true
            }
            state.update { $0.isBusy = false }
        }
    }

    /// Sidecars come first: deleting may take minutes.
    private static func next(_ state: inout State) -> Chore? {
        if !state.unsettled.isEmpty {
            state.isBusy = true
            return .settle(state.unsettled.removeFirst())
        }
        if state.isClosed { return .end }
        if let image = state.released.popFirst() {
            state.isBusy = true
            // Its files are in the trash then.
            state.hasTrash = true
            return .release(image)
        }
        guard state.hasTrash else { return nil }
        state.isBusy = true
        state.hasTrash = false
        return .emptyTrash
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
                    guard var current = try rows.snapshot(id: id)?.record else {
                        return SnapshotRecord?.none
                    }
                    current.usage = usage
                    try rows.replace(current)
                    return current
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
