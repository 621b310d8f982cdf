// SPDX-License-Identifier: Apache-2.0

import Containerd
import Linux

/// How snapshots are mounted: what containerd's own overlayfs snapshotter answers.
struct OverlayMounts: Sendable {
    private let directories: SnapshotDirectories
    /// Options of every overlay mount.
    let options: [String]

    /// The mounts for a root directory, on this kernel.
    ///
    /// - Parameters:
    ///   - directories: where the snapshots are.
    ///   - options: options that the administrator chose, such as `volatile`.
    init(_ directories: SnapshotDirectories, options: [String]) {
        self.directories = directories
        var options = options
        // trusted.* attributes are out of reach in a user namespace, and tmpfs has no user.*
        // before Linux 6.6.
        if !UserNamespace.isInitial, !FileSystem.isTemporary(directories.root),
            !options.contains("userxattr")
        {
            options.append("userxattr")
        }
        // A lower directory is shared by many overlays, which the inode index would refuse.
        let index = "/sys/module/overlay/parameters/index"
        if (try? FileStatus(path: index)) != nil,
            !options.contains(where: { $0.hasPrefix("index=") })
        {
            options.append("index=off")
        }
        self.options = options
    }

    /// The mounts of an active snapshot or a view.
    ///
    /// Lower directories stand with their whole paths: whoever mounts them shortens them where
    /// they do not fit into the page that mount(2) takes, as containerd does.
    ///
    /// - Parameters:
    ///   - record: the snapshot.
    ///   - lower: the numbers of those below it, from the top.
    /// - Returns: one mount.
    func mounts(of record: SnapshotRecord, lower: [Int64]) -> [MountSpec] {
        let isView = record.kind == .view
        var options = SnapshotLabels.mappingOptions(record.labels)
        // Overlay refuses a lone lower directory, and needs one at least.
        if lower.isEmpty || (isView && lower.count == 1) {
            let source = directories.upper(lower.first ?? record.id)
            options += [isView ? "ro" : "rw", "rbind"]
            return [MountSpec(type: "bind", source: source, options: options)]
        }
        if !isView {
            options.append("workdir=\(directories.work(record.id))")
            options.append("upperdir=\(directories.upper(record.id))")
        }
        let lowers = lower.map { directories.upper($0) }.joined(separator: ":")
        options.append("lowerdir=\(lowers)")
        return [MountSpec(type: "overlay", source: "overlay", options: options + self.options)]
    }
}
