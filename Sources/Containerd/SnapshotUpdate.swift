// SPDX-License-Identifier: Apache-2.0

/// A change of a snapshot's labels: all that `Update` may change.
package struct SnapshotUpdate: Sendable, Equatable {
    /// The snapshot.
    package let name: String
    /// The labels sent.
    private let labels: [String: String]
    /// The labels that change; nil for all of them.
    private let keys: [String]?

    /// The change that a message asks for.
    ///
    /// - Parameters:
    ///   - name: the snapshot's key or name.
    ///   - labels: the labels sent.
    ///   - mask: the paths of the field mask: `labels`, `labels.<key>`. None at all means every
    ///     field that may change.
    /// - Throws: `invalidArgument` for a field that cannot change.
    package init(
        name: String,
        labels: [String: String],
        mask: [String]
    ) throws(RPCStatus) {
        var keys: [String] = []
        var isWhole = mask.isEmpty
        for path in mask {
            if path == "labels" {
                isWhole = true
            } else if path.hasPrefix("labels.") {
                keys.append(String(path.dropFirst("labels.".count)))
            } else {
                throw RPCStatus(
                    .invalidArgument,
                    "snapshot \(name): field \(path) cannot be updated"
                )
            }
        }
        self.name = name
        self.labels = labels
        self.keys = isWhole ? nil : keys
    }

    /// The snapshot's labels after the change.
    ///
    /// A label sent with an empty value, or named by the mask and not sent, is taken away, as
    /// containerd's own snapshotters do.
    ///
    /// - Parameter current: the labels before.
    /// - Returns: the labels.
    package func labels(changing current: [String: String]) -> [String: String] {
        var changed: [String: String] = [:]
        if let keys {
            changed = current
            for key in keys { changed[key] = labels[key] }
        } else {
            changed = labels
        }
        return changed.filter { !$0.value.isEmpty }
    }
}
