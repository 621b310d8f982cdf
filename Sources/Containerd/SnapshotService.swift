// SPDX-License-Identifier: Apache-2.0

/// A snapshotter, as containerd calls it.
///
/// Several calls run at once, also for one key. `list`, `usage` and `cleanup` may take their time;
/// the others call `CallContext.willBlock` before they wait for more than the disk.
/// A failure's code is part of the contract: `notFound` for a key or parent that does not exist,
/// `alreadyExists` for one that does, `failedPrecondition` for a snapshot in the wrong state,
/// `invalidArgument` for a wrong kind of snapshot or an empty name.
package protocol SnapshotService: AnyObject, Sendable {
    /// Makes a writable snapshot.
    ///
    /// - Parameters:
    ///   - key: its key, not empty.
    ///   - parent: the committed snapshot below; empty for none.
    ///   - labels: its labels.
    ///   - context: the call's.
    /// - Returns: how it is mounted.
    /// - Throws: `RPCStatus`.
    func prepare(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws(RPCStatus) -> [MountSpec]

    /// Makes a read-only snapshot; parameters as for `prepare`.
    func view(
        key: String,
        parent: String,
        labels: [String: String],
        _ context: CallContext
    ) throws(RPCStatus) -> [MountSpec]

    /// How an active snapshot or a view is mounted.
    func mounts(key: String, _ context: CallContext) throws(RPCStatus) -> [MountSpec]

    /// Turns an active snapshot into a committed one. Called while containerd's own database is
    /// locked: it has to be quick.
    ///
    /// - Parameters:
    ///   - name: the committed snapshot's name, not empty.
    ///   - key: the active snapshot's key.
    ///   - labels: the committed snapshot's labels; those of the active one go.
    ///   - parent: the committed snapshot's parent where it differs from the active one's
    ///     (containerd 2.2); empty for no change.
    ///   - context: the call's.
    /// - Throws: `RPCStatus`.
    func commit(
        name: String,
        key: String,
        labels: [String: String],
        parent: String,
        _ context: CallContext
    ) throws(RPCStatus)

    /// Removes a snapshot that is no other's parent.
    func remove(key: String, _ context: CallContext) throws(RPCStatus)

    /// What is known of a snapshot.
    func stat(key: String, _ context: CallContext) throws(RPCStatus) -> SnapshotInfo

    /// Changes a snapshot's labels.
    ///
    /// - Returns: the snapshot after the change.
    func update(_ update: SnapshotUpdate, _ context: CallContext) throws(RPCStatus) -> SnapshotInfo

    /// Gives the snapshots that a caller wants, of every kind.
    ///
    /// - Parameters:
    ///   - filter: which are wanted.
    ///   - context: the call's.
    ///   - deliver: takes some of them, any number at a time. It blocks while the caller is slow:
    ///     nothing that other calls need may be held meanwhile. It throws once the caller is
    ///     gone.
    /// - Throws: `RPCStatus`.
    func list(
        _ filter: SnapshotFilter,
        _ context: CallContext,
        _ deliver: ([SnapshotInfo]) throws(RPCStatus) -> Void
    ) throws(RPCStatus)

    /// What a snapshot alone takes.
    func usage(key: String, _ context: CallContext) throws(RPCStatus) -> SnapshotUsage

    /// Deletes what no snapshot names any more.
    func cleanup(_ context: CallContext) throws(RPCStatus)

    /// Ends the service: no call runs, and none follows.
    func close()
}
