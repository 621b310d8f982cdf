// SPDX-License-Identifier: Apache-2.0
//
// Snapshotter: containerd's snapshots: for ordinary images all that its own overlayfs snapshotter
// does, with a state that survives whatever happens to the process.

package import Containerd
import Content
import Database
import Linux
package import Log
import Synchronization

/// A snapshotter over a root directory, which it alone uses.
///
/// What holds at every moment, also after a death or a power cut:
/// 1. A row stands for a directory that is complete: it is made before the row is committed, and
///    moved away after the row is gone. It is not synced: what a power cut takes of it is made again
///    by the next start, empty, for nothing in it can have been on storage; a layer whose files are
///    gone is forgotten.
/// 2. A directory without a row is nobody's: the next start, or `cleanup`, moves it to the trash.
/// 3. The database decides; sidecars follow it, and are believed only when it is lost.
/// 4. A number is never used twice, so that a path means one snapshot for ever.
///
/// What a snapshot holds is not synced here, as nowhere in containerd: a power cut may take files
/// of a layer that was unpacked just before.
package final class Snapshotter: SnapshotService {
    struct Numbers {
        var next: Int64
        /// Numbers of directories that are made, and have no row yet.
        var inUse: Set<Int64> = []
    }

    /// Snapshots of one answer of `list`'s, and of one read: nobody's slowness holds the database.
    private static let pageSize = 100

    let store: SnapshotStore
    let directories: SnapshotDirectories
    let overlay: OverlayMounts
    let housekeeper: Housekeeper
    /// nil where only ordinary images are kept.
    let images: LazyImages?
    let numbers: Mutex<Numbers>
    let logger: Logger
    private let lock: RootLock

    /// Takes a root directory over, and brings what is in it into agreement.
    ///
    /// - Parameters:
    ///   - root: the directory, from the root; made if it is missing.
    ///   - mountOptions: options of every overlay mount, such as `volatile`.
    ///   - mounter: mounts converted images, which are never downloaded; nil if there is none.
    ///   - idleSeconds: how long an image stays mounted that nobody uses.
    ///   - locator: finds images that a client does not name; nil if there is none.
    ///   - logger: told what was found damaged, lost or kept.
    ///   - steps: told every step that leaves a trace on storage; for tests.
    /// - Throws: `SystemError`: EWOULDBLOCK, naming the owner, if another process uses the root;
    ///   `DatabaseError` of the kind `tooNew` if a newer program has written the state.
    package init(
        root: String,
        mountOptions: [String] = [],
        mounter: (any ImageMounter)? = nil,
        idleSeconds: Int = 3_600,
        locator: (any ImageLocator)? = nil,
        logger: Logger,
        steps: StepObserver = .none
    ) throws {
        directories = SnapshotDirectories(root, steps: steps)
        try directories.makeRoot()
        lock = try RootLock(root)
        self.logger = logger
        let recovery = Recovery(directories, logger, steps)
        let (store, findings) = try recovery.open()
        self.store = store
        overlay = OverlayMounts(directories, options: mountOptions)
        images =
            if let mounter {
                try LazyImages(mounter, locator, store, directories, logger)
            } else {
                nil
            }
        housekeeper = try Housekeeper(store, directories, images, logger)
        numbers = Mutex(Numbers(next: findings.nextID))
        try images?.startWatch(idleSeconds: idleSeconds)
        for id in findings.unsettled { housekeeper.settle(id) }
        housekeeper.emptyTrash()
    }

    /// What there is, in numbers.
    ///
    /// - Throws: `RPCStatus`.
    package func summary() throws(RPCStatus) -> SnapshotSummary {
        try answering("snapshots") { try store.read { rows in try rows.summary() } }
    }

    /// The images that containers are made from and that cannot be mounted at the moment.
    package var degradedImages: [DegradedImage] { images?.degradedImages ?? [] }

    package func mounts(key: String, _ context: CallContext) throws(RPCStatus) -> [MountSpec] {
        try answering("snapshot \(key)") {
            let record = try store.existing(key).record
            guard record.kind != .committed else {
                throw RPCStatus(.failedPrecondition, "snapshot \(key) is committed, not mountable")
            }
            return overlay.mounts(of: record, lower: try lower(record.parentID, context))
        }
    }

    package func stat(key: String, _ context: CallContext) throws(RPCStatus) -> SnapshotInfo {
        try answering("snapshot \(key)") {
            try store.existing(key).info
        }
    }

    package func list(
        _ filter: SnapshotFilter,
        _ context: CallContext,
        _ deliver: ([SnapshotInfo]) throws(RPCStatus) -> Void
    ) throws(RPCStatus) {
        var last: Int64 = 0
        while true {
            try context.checkIsWanted()
            let after = last
            let page = try answering("snapshots") {
                try store.read { rows in
                    try rows.snapshots(after: after, limit: Self.pageSize)
                }
            }
            guard let end = page.last?.record.id else { return }
            last = end
            let wanted = page.map(\.info).filter(filter.matches)
            if !wanted.isEmpty { try deliver(wanted) }
        }
    }

    package func usage(key: String, _ context: CallContext) throws(RPCStatus) -> SnapshotUsage {
        try answering("snapshot \(key)") {
            let record = try store.existing(key).record
            if let usage = record.usage { return usage }
            guard record.kind != .view else { return SnapshotUsage(inodes: 0, size: 0) }
            return try Housekeeper.measure(directories.upper(record.id))
        }
    }

    package func cleanup(_ context: CallContext) throws(RPCStatus) {
        try answering("cleanup") {
            // In this order: what is prepared meanwhile is either in use or has a row by then.
            let names = try directories.names()
            let inUse = numbers.withLock { $0.inUse }
            let known = try store.read { rows in try rows.ids() }
            for name in names {
                if let id = Int64(name), known.contains(id) || inUse.contains(id) { continue }
                try directories.discard(name)
            }
            try images?.collect()
        }
        housekeeper.emptyTrash()
    }

    package func close() {
        housekeeper.close()
        images?.close()
        store.close()
    }

    /// Waits until everything is measured, every sidecar is written and the trash is empty.
    package func waitUntilIdle() {
        housekeeper.waitUntilIdle()
    }
}

/// The lock on the root, in a class: a closure that throws may not touch a noncopyable field.
private final class RootLock: Sendable {
    private let lock: OwnerLock

    /// How often the lock is tried, once in 10 ms.
    private static let attempts = 50

    /// Takes the lock, if it is free or gets free in a moment: a process that was killed has it until
    /// it is gone, and so has a child of it that is about to run another program.
    init(_ root: String) throws(SystemError) {
        for _ in 1..<Self.attempts {
            do throws(SystemError) {
                lock = try OwnerLock(root)
                return
            } catch  where error.isTaken {
                CurrentProcess.sleep(nanoseconds: 10_000_000)
            }
        }
        lock = try OwnerLock(root)
    }
}

extension Snapshotter {
    /// The one place where a failure becomes what containerd is told.
    func answering<T>(_ object: String, _ body: () throws -> T) throws(RPCStatus) -> T {
        do {
            return try body()
        } catch let status as RPCStatus {
            throw status
        } catch let error as DatabaseError {
            let code: RPCStatus.Code =
                switch error.kind {
                case .full: .resourceExhausted
                case .busy: .unavailable
                case .corrupt: .dataLoss
                case .constraint, .tooNew, .other: .internalError
                }
            throw RPCStatus(code, "\(object): \(error)")
        } catch let error as ContentError {
            let code: RPCStatus.Code =
                switch error.kind {
                case .denied: .permissionDenied
                case .corrupt, .truncated: .dataLoss
                case .notFound, .unsupported: .failedPrecondition
                case .noSpace, .limitExceeded: .resourceExhausted
                case .inputOutput: .unavailable
                }
            throw RPCStatus(code, "\(object): \(error)")
        } catch let error as SystemError {
            let code: RPCStatus.Code = error.isOutOfSpace ? .resourceExhausted : .internalError
            throw RPCStatus(code, "\(object): \(error)")
        } catch {
            throw RPCStatus(.internalError, "\(object): \(error)")
        }
    }
}
