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

    func image(_ digest: Digest) -> String { "\(images)/\(digest.hex)" }

    /// Makes the directories of images and of their mounts, where they are missing.
    func makeImageDirectories() throws(SystemError) {
        try FileSystem.makeDirectories(images, mode: 0o700)
        try FileSystem.makeDirectories(mounts, mode: 0o700)
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

    /// Makes a snapshot's directory with all in it, and syncs it: its row may be written then.
    ///
    /// - Parameters:
    ///   - record: the snapshot.
    ///   - owner: to whom its root belongs; nil for us.
    /// - Throws: `SystemError`; part of it may be there.
    func make(
        _ record: SnapshotRecord,
        owner: (user: UInt32, group: UInt32)?
    ) throws(SystemError) {
        let id = record.id
        steps.willDo("make directory")
        try FileSystem.makeDirectory(directory(id), mode: 0o700)
        steps.willDo("make upper")
        try FileSystem.makeDirectory(upper(id), mode: 0o755)
        if let owner {
            try FileSystem.setOwner(upper(id), user: owner.user, group: owner.group)
        }
        if record.kind == .active {
            steps.willDo("make work")
            try FileSystem.makeDirectory(work(id), mode: 0o711)
        }
        steps.willDo("make sidecar")
        let path = sidecar(id)
        let bytes = record.sidecar
        let file = try FileSystem.create(path)
        try unsafe file.write(bytes.span.bytes, path)
        // The sidecar's content need not be safe: without the row that follows it means nothing,
        // and with it the row is written again into a sidecar that differs.
        steps.willDo("sync directories")
        try FileSystem.synchronizeDirectory(directory(id))
        try FileSystem.synchronizeDirectory(snapshots)
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
