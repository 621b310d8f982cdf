// SPDX-License-Identifier: Apache-2.0

import Containerd

/// The labels of containerd's that a snapshotter acts upon.
package enum SnapshotLabels {
    /// How a user namespace sees users: `inside:outside:count`, several joined with commas.
    package static let userMapping = "containerd.io/snapshot/uidmapping"
    /// The same for groups.
    package static let groupMapping = "containerd.io/snapshot/gidmapping"

    /// The chain ID of the layer that a snapshot is made for.
    package static let target = "containerd.io/snapshot.ref"

    /// Whether the label's value is nobody else's business: credentials that a client sends along.
    static func isSecret(_ label: String) -> Bool {
        label == "containerd.io/snapshot/pullsecret"
            || label == "containerd.io/snapshot/pullusername"
    }

    /// The options with which containerd (1.7 and later) makes an ID-mapped mount; empty without
    /// these labels.
    static func mappingOptions(_ labels: [String: String]) -> [String] {
        var options: [String] = []
        if let users = labels[userMapping] { options.append("uidmap=\(users)") }
        if let groups = labels[groupMapping] { options.append("gidmap=\(groups)") }
        return options
    }

    /// To whom a writable snapshot's root belongs, outside, so that it is root's inside.
    ///
    /// - Parameter labels: the snapshot's.
    /// - Returns: user and group; nil without these labels.
    /// - Throws: `invalidArgument` for a mapping that cannot be read or has no root.
    static func mappedRoot(
        _ labels: [String: String]
    ) throws(RPCStatus) -> (user: UInt32, group: UInt32)? {
        guard labels[userMapping] != nil || labels[groupMapping] != nil else { return nil }
        let user = try IDMapping(labels[userMapping] ?? "", label: userMapping)
        let group = try IDMapping(labels[groupMapping] ?? "", label: groupMapping)
        return (try user.root(label: userMapping), try group.root(label: groupMapping))
    }
}

/// The ranges of IDs of a user namespace.
private struct IDMapping {
    private struct Extent {
        var inside: UInt32
        var outside: UInt32
        var count: UInt32
    }

    /// (uid_t) -1, which is nobody's.
    private static let invalid = UInt32.max

    private let extents: [Extent]

    init(_ text: String, label: String) throws(RPCStatus) {
        var extents: [Extent] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false)
        where !text.isEmpty {
            let numbers = part.split(separator: ":", omittingEmptySubsequences: false)
                .map { UInt32($0) }
            guard numbers.count == 3, let inside = numbers[0], let outside = numbers[1],
                let count = numbers[2], !numbers.contains(Self.invalid)
            else {
                throw RPCStatus(.invalidArgument, "label \(label): no mapping of IDs: \(part)")
            }
            extents.append(Extent(inside: inside, outside: outside, count: count))
        }
        self.extents = extents
    }

    /// The ID outside that is 0 inside; without any extent each ID is itself.
    func root(label: String) throws(RPCStatus) -> UInt32 {
        guard !extents.isEmpty else { return 0 }
        guard let extent = extents.first(where: { $0.inside == 0 && $0.count > 0 }) else {
            throw RPCStatus(.invalidArgument, "label \(label): root is not mapped")
        }
        return extent.outside
    }
}
