// SPDX-License-Identifier: Apache-2.0

/// What containerd knows of a snapshot (`containerd.services.snapshots.v1.Info`).
package struct SnapshotInfo: Sendable, Equatable {
    /// What a snapshot may be used for; raw values as the protocol numbers them.
    package enum Kind: Int32, Sendable, CaseIterable {
        /// Read only, made from a committed one; never committed.
        case view = 1
        /// Writable; becomes committed, or goes.
        case active = 2
        /// Unchangeable; may be the parent of others.
        case committed = 3

        /// The name that filters compare with, in lower case.
        package var name: String {
            switch self {
            case .view: "view"
            case .active: "active"
            case .committed: "committed"
            }
        }
    }

    /// A moment: seconds since 1970, UTC, and nanoseconds into the second, 0...999 999 999.
    package struct Time: Sendable, Equatable {
        /// Seconds since 1970, UTC.
        package var seconds: Int64
        /// Nanoseconds into the second.
        package var nanoseconds: Int32

        /// A moment.
        package init(seconds: Int64, nanoseconds: Int32) {
            self.seconds = seconds
            self.nanoseconds = nanoseconds
        }
    }

    /// The key of an active snapshot or a view, the name of a committed one.
    package var name: String
    /// The committed snapshot below; empty for none.
    package var parent: String
    /// What it may be used for.
    package var kind: Kind
    /// Words its makers left on it.
    package var labels: [String: String]
    /// When it was prepared or committed.
    package var createdAt: Time
    /// When its labels or its kind last changed.
    package var updatedAt: Time

    /// A snapshot's description.
    package init(
        name: String,
        parent: String,
        kind: Kind,
        labels: [String: String],
        createdAt: Time,
        updatedAt: Time
    ) {
        self.name = name
        self.parent = parent
        self.kind = kind
        self.labels = labels
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// What a snapshot alone takes, without its parents.
package struct SnapshotUsage: Sendable, Equatable {
    /// Inodes.
    package var inodes: Int64
    /// Bytes on local storage.
    package var size: Int64

    /// An amount.
    package init(inodes: Int64, size: Int64) {
        self.inodes = inodes
        self.size = size
    }
}

/// One mount(2) that containerd makes (`containerd.types.Mount`).
package struct MountSpec: Sendable, Equatable {
    /// The file system: `overlay`, `bind`.
    package var type: String
    /// The device or directory.
    package var source: String
    /// Where, below the container's root; empty for the root itself.
    package var target: String
    /// Options as mount(8) takes them.
    package var options: [String]

    /// A mount.
    package init(type: String, source: String, target: String = "", options: [String]) {
        self.type = type
        self.source = source
        self.target = target
        self.options = options
    }
}
