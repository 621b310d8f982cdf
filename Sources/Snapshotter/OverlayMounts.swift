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
    ///   - lower: the directories below it.
    /// - Returns: one mount.
    func mounts(of record: SnapshotRecord, lower: LowerLayers) -> [MountSpec] {
        let isView = record.kind == .view
        var options =
            isMapped(record.labels, below: lower)
            ? [] : SnapshotLabels.mappingOptions(record.labels)
        // Overlay refuses a lone lower directory, and needs one at least.
        if lower.paths.isEmpty || (isView && lower.paths.count == 1) {
            let source = lower.paths.first ?? directories.upper(record.id)
            options += [isView ? "ro" : "rw", "rbind"]
            return [MountSpec(type: "bind", source: source, options: options)]
        }
        if !isView {
            options.append("workdir=\(directories.work(record.id))")
            options.append("upperdir=\(directories.upper(record.id))")
        }
        options.append("lowerdir=\(lower.paths.joined(separator: ":"))")
        options += self.options + (lower.isLazy ? lazyOptions : [])
        return [MountSpec(type: "overlay", source: "overlay", options: options)]
    }

    /// Whether what is below has its owners as they are outside already.
    ///
    /// containerd that was not told that we map (`capabilities = ["remap-ids"]`), and every one before
    /// 2.0, makes a layer in which all files have been given to them, and passes the labels all the
    /// same: mapped once more, nothing of it could be read.
    private func isMapped(_ labels: [String: String], below lower: LowerLayers) -> Bool {
        guard let highest = lower.paths.first, !(lower.isLazy && lower.paths.count == 1),
            let root = try? SnapshotLabels.mappedRoot(labels), root.user != 0,
            let status = try? FileStatus(path: highest)
        else { return false }
        return status.userID == root.user && status.groupID == root.group
    }

    /// What an overlay on an image's mount needs beside: a change of owner or mode must not copy the
    /// file up, which would fetch all of it, and inode numbers stay what they were.
    private var lazyOptions: [String] {
        // Without trusted.* attributes there is nowhere to note that only metadata is here.
        let wanted = ["xino=on"] + (options.contains("userxattr") ? [] : ["metacopy=on"])
        return wanted.filter { option in
            let key = option.prefix { $0 != "=" } + "="
            return !options.contains { $0.hasPrefix(key) }
        }
    }
}
