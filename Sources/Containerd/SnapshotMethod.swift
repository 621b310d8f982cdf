// SPDX-License-Identifier: Apache-2.0

import CContainerdAPI

/// The methods of `containerd.services.snapshots.v1.Snapshots`; raw values are their names.
enum SnapshotMethod: String, CaseIterable, Sendable {
    case prepare = "Prepare"
    case view = "View"
    case mounts = "Mounts"
    case commit = "Commit"
    case remove = "Remove"
    case stat = "Stat"
    case update = "Update"
    case list = "List"
    case usage = "Usage"
    case cleanup = "Cleanup"

    private static let service = "/containerd.services.snapshots.v1.Snapshots/"

    /// The method of an HTTP/2 path; nil if there is none.
    init?(path: String) {
        guard path.hasPrefix(Self.service) else { return nil }
        self.init(rawValue: String(path.dropFirst(Self.service.count)))
    }

    /// How long a call takes, unless it calls `CallContext.willBlock`.
    enum Duration {
        /// A moment.
        case short
        /// As long as the disk takes to keep a small change.
        case ofWrite
        /// Nobody knows.
        case long
    }

    /// How long a call takes.
    var duration: Duration {
        switch self {
        case .mounts, .stat: .short
        case .prepare, .view, .commit, .remove, .update: .ofWrite
        case .list, .usage, .cleanup: .long
        }
    }

    /// What its request looks like.
    private var shape: ccontainerd_shape {
        switch self {
        case .prepare, .view: CCONTAINERD_PREPARE
        case .commit: CCONTAINERD_COMMIT
        case .update: CCONTAINERD_UPDATE
        case .list: CCONTAINERD_LIST
        case .mounts, .remove, .stat, .usage, .cleanup: CCONTAINERD_KEY
        }
    }

    /// Has the service answer a call.
    ///
    /// - Parameters:
    ///   - message: the request.
    ///   - context: the call's.
    ///   - service: who answers.
    ///   - send: takes the messages of a stream; blocks while the caller is slow, throws when it
    ///     is gone.
    /// - Returns: the one response; nil for a stream that is at its end.
    /// - Throws: `RPCStatus`.
    func answer(
        _ message: [UInt8],
        _ context: CallContext,
        _ service: any SnapshotService,
        send: ([UInt8]) throws(RPCStatus) -> Void
    ) throws(RPCStatus) -> [UInt8]? {
        let request = try SnapshotRequest(shape, message)
        try context.checkIsWanted()
        if let name = requiredName(request), name.isEmpty {
            throw RPCStatus(.invalidArgument, "\(rawValue): a snapshot's key or name is missing")
        }
        let (key, parent, labels) = (request.key, request.parent, request.labels)
        switch self {
        case .prepare:
            return SnapshotResponse.mounts(
                try service.prepare(key: key, parent: parent, labels: labels, context)
            )
        case .view:
            return SnapshotResponse.mounts(
                try service.view(key: key, parent: parent, labels: labels, context)
            )
        case .mounts:
            return SnapshotResponse.mounts(try service.mounts(key: key, context))
        case .commit:
            guard !key.isEmpty else { throw RPCStatus(.invalidArgument, "Commit: no key") }
            let name = request.name
            try service.commit(name: name, key: key, labels: labels, parent: parent, context)
            return []
        case .remove:
            try service.remove(key: key, context)
            return []
        case .stat:
            return SnapshotResponse.info(try service.stat(key: key, context))
        case .update:
            let update = try SnapshotUpdate(
                name: request.name,
                labels: labels,
                mask: request.texts
            )
            return SnapshotResponse.info(try service.update(update, context))
        case .list:
            try list(request.texts, context, service, send)
            return nil
        case .usage:
            return SnapshotResponse.usage(try service.usage(key: key, context))
        case .cleanup:
            try service.cleanup(context)
            return []
        }
    }

    /// The name that a request cannot do without; nil if there is none.
    private func requiredName(_ request: SnapshotRequest) -> String? {
        switch self {
        case .list, .cleanup: nil
        case .commit, .update: request.name
        case .prepare, .view, .mounts, .remove, .stat, .usage: request.key
        }
    }

    /// The snapshots of one message of List: as many as containerd puts into one, fewer if they are
    /// large, since a message is not to be larger than 16 MiB.
    private static let (batchCount, batchBytes) = (100, 1 << 20)

    private func list(
        _ filters: [String],
        _ context: CallContext,
        _ service: any SnapshotService,
        _ send: ([UInt8]) throws(RPCStatus) -> Void
    ) throws(RPCStatus) {
        let filter = try SnapshotFilter(parsing: filters)
        var batch: [SnapshotInfo] = []
        var bytes = 0
        func flush() throws(RPCStatus) {
            guard !batch.isEmpty else { return }
            try context.checkIsWanted()
            try send(SnapshotResponse.infos(batch))
            batch.removeAll(keepingCapacity: true)
            bytes = 0
        }
        try service.list(filter, context) { (infos: [SnapshotInfo]) throws(RPCStatus) in
            for info in infos {
                batch.append(info)
                bytes += SnapshotResponse.weight(of: info)
                if batch.count >= Self.batchCount || bytes >= Self.batchBytes { try flush() }
            }
        }
        try flush()
    }
}
