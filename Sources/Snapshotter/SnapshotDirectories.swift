// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Linux

/// What lies below the root directory of a snapshotter.
///
///     lock                      held by the process that owns the root
///     snapshots.db              the rows; with -wal and -shm while it is open
///     snapshots/<id>/fs         a snapshot's own files: overlay's upper directory, later a lower one
///     snapshots/<id>/work       overlay's own, of an active snapshot
///     snapshots/<id>/snapshot.json   what its row says, for the day the database is lost
///     images/<digest>/          what is needed to mount a converted image, as an OCI layout
///     mounts/<digest>           where it is mounted
///     sessions/<name>.json      what the next process takes a mount over with
///     holder.sock               where the process listens that keeps the mounts' descriptors
///     trash/                    what is being deleted
///     lost/<id>                 what a lost database left without a name; never deleted
struct SnapshotDirectories: Sendable {
    let root: String
    private let steps: StepObserver

    init(_ root: String, steps: StepObserver) {
        self.root = root
        self.steps = steps
    }

    var database: String { root + "/snapshots.db" }
    var snapshots: String { root + "/snapshots" }
    var trash: String { root + "/trash" }
    var lost: String { root + "/lost" }
    var images: String { root + "/images" }
    var mounts: String { root + "/mounts" }
    var sessions: String { root + "/sessions" }

    func image(_ digest: Digest) -> String { "\(images)/\(digest.hex)" }

    /// Makes the directories of images and of their mounts, where they are missing.
    func makeImageDirectories() throws(SystemError) {
        try FileSystem.makeDirectories(images, mode: 0o700)
        try FileSystem.makeDirectories(mounts, mode: 0o700)
        try FileSystem.makeDirectories(sessions, mode: 0o700)
    }

    /// Takes what is stored of an image out of sight; nothing happens if there is nothing.
    ///
    /// - Parameter name: its directory's name among the images.
    /// - Throws: `SystemError`.
    func discardImage(_ name: String) throws(SystemError) {
        let target = "\(trash)/image-\(CurrentProcess.monotonicNanoseconds)"
        do throws(SystemError) {
            try FileSystem.rename("\(images)/\(name)", to: target)
        } catch  where error.isNotFound {
            return
        }
    }

    func directory(_ id: Int64) -> String { "\(snapshots)/\(id)" }
    func upper(_ id: Int64) -> String { "\(snapshots)/\(id)/fs" }
    func work(_ id: Int64) -> String { "\(snapshots)/\(id)/work" }
    func sidecar(_ id: Int64) -> String { "\(snapshots)/\(id)/snapshot.json" }

    /// Makes what is missing of the root directory.
    ///
    /// - Throws: `SystemError`: also where the file system does not tell a directory from a file
    ///   by its entry, which overlay needs.
    func makeRoot() throws(SystemError) {
        try FileSystem.makeDirectories(root, mode: 0o700)
        try FileSystem.makeDirectories(snapshots, mode: 0o700)
        try FileSystem.makeDirectories(trash, mode: 0o700)
        let stream = try DirectoryStream(root)
        while let entry = try stream.next() {
            guard entry.isDirectory != nil else {
                throw .unsupported("keep snapshots", "\(root), whose file system has no d_type")
            }
        }
    }

    /// Makes a snapshot's directory with those in it: its row may be written then.
    ///
    /// Nothing is synced: after a power cut `complete` makes again what is missing. What a caller
    /// has synced in the directory since is on storage together with the directory itself. The
    /// sidecar comes later (`Housekeeper`).
    ///
    /// - Parameters:
    ///   - record: the snapshot.
    ///   - owner: to whom its root belongs; nil for us.
    /// - Throws: `SystemError`; part of it may be there.
    func make(
        _ record: SnapshotRecord,
        owner: (user: UInt32, group: UInt32)?
    ) throws(SystemError) {
        for part in parts(record) { try make(part, owner) }
    }

    /// Whether all directories of a snapshot are there.
    func isComplete(_ record: SnapshotRecord) -> Bool {
        // The last of them is in the first.
        parts(record).dropFirst().allSatisfy { part in
            (try? FileStatus(path: part.path))?.isDirectory == true
        }
    }

    /// Makes those directories of a snapshot that are missing; parameters as for `make`.
    func complete(
        _ record: SnapshotRecord,
        owner: (user: UInt32, group: UInt32)?
    ) throws(SystemError) {
        for part in parts(record) {
            do throws(SystemError) {
                try make(part, owner)
            } catch  where error.isAlreadyThere {
                continue
            }
        }
    }

    private struct Part {
        var name: String
        var path: String
        var mode: UInt32
        var isRoot = false
    }

    /// The directories of a snapshot, in the order in which they are made.
    private func parts(_ record: SnapshotRecord) -> [Part] {
        var parts = [
            Part(name: "directory", path: directory(record.id), mode: 0o700),
            Part(name: "upper", path: upper(record.id), mode: 0o755, isRoot: true),
        ]
        if record.kind == .active {
            parts.append(Part(name: "work", path: work(record.id), mode: 0o711))
        }
        return parts
    }

    private func make(
        _ part: Part,
        _ owner: (user: UInt32, group: UInt32)?
    ) throws(SystemError) {
        steps.willDo("make \(part.name)")
        try FileSystem.makeDirectory(part.path, mode: part.mode)
        if part.isRoot, let owner {
            try FileSystem.setOwner(part.path, user: owner.user, group: owner.group)
        }
    }

    /// Gives a snapshot's sidecar the values of its row; old or new after a death.
    ///
    /// - Throws: `SystemError`.
    func rewriteSidecar(_ record: SnapshotRecord) throws(SystemError) {
        let bytes = record.sidecar
        steps.willDo("replace sidecar")
        try unsafe FileSystem.replace(sidecar(record.id), with: bytes.span.bytes)
    }

    /// Takes a snapshot's directory out of sight; deleting it is somebody else's work.
    ///
    /// - Throws: `SystemError`; nothing happens if there is none.
    func discard(_ name: String) throws(SystemError) {
        steps.willDo("move to trash")
        do throws(SystemError) {
            try FileSystem.rename("\(snapshots)/\(name)", to: "\(trash)/\(name)")
        } catch  where error.isNotFound {
            return
        } catch  where error.isNotEmpty {
            // The number is taken in the trash, by what was kept there.
            let other = "\(trash)/\(name)-\(CurrentProcess.monotonicNanoseconds)"
            try FileSystem.rename("\(snapshots)/\(name)", to: other)
        }
    }

    /// Puts a snapshot's directory where nothing deletes it.
    ///
    /// - Returns: its new path.
    /// - Throws: `SystemError`.
    func setAside(_ name: String) throws(SystemError) -> String {
        try FileSystem.makeDirectories(lost, mode: 0o700)
        let path = "\(lost)/\(name)"
        try FileSystem.rename("\(snapshots)/\(name)", to: path)
        return path
    }

    /// The names in the snapshots' directory: numbers, if nobody else was there.
    func names() throws(SystemError) -> [String] {
        try FileSystem.names(inDirectory: snapshots)
    }
}
