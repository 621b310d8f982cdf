// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Distribution
import Linux
import Log
import OCI

/// How mounts outlive the process.
extension LazyImages {
    /// Has the next process know of a mount, before anybody is told where it is.
    func record(_ mount: any ImageMount, _ key: MountKey, _ reference: Reference) {
        guard let continuation = mount.continuation else { return }
        let record = MountRecord(
            image: key.image,
            layers: key.layers,
            manifest: try? source(key, reference).resolve().descriptor.digest,
            reference: "\(reference)",
            path: mount.path,
            continuation: continuation
        )
        do throws(SystemError) {
            try records.write(record)
        } catch {
            log.warning(
                "a mount will not outlive this process",
                ["path": mount.path, "error": error]
            )
        }
    }

    /// Takes a mount out of sight, and forgets it when its last user has ended.
    func end(_ mount: any ImageMount) {
        guard let name = mount.continuation?.name else { return mount.unmount {} }
        let records = records
        mount.unmount { records.remove(name) }
    }

    /// Serves on what the process before has served.
    ///
    /// - Returns: where it could not, for a reason that was logged.
    /// - Throws: `SystemError` if nobody can say what it has served: then nothing of it may be
    ///   cleared.
    func takeOverMounts() throws(SystemError) -> [String] {
        var failed: [String] = []
        for name in try records.names() {
            do {
                let record = try records.read(name)
                // Mounts end with the system that they were made on.
                guard record.isOfThisBoot else {
                    records.remove(name)
                    continue
                }
                if !takeOver(record) { failed.append(record.path) }
            } catch {
                log.warning("what is known of a mount is lost", ["error": "\(error)"])
                records.remove(name)
            }
        }
        mounter.endTakeover()
        return failed
    }

    /// How often a mount is tried to be taken over, and the time between, in milliseconds.
    private static let attempts = 10
    private static let pause = 200

    private func takeOver(_ record: MountRecord) -> Bool {
        var attempt = 1
        while true {
            do {
                try takeOverOnce(record)
                return true
            } catch let error as SystemError where error.isShortage && attempt < Self.attempts {
                // Its containers wait meanwhile; given up, they could not read any more.
                attempt += 1
                _ = isClosed.wait(milliseconds: Self.pause) { $0 ? true : nil }
            } catch {
                log.warning(
                    "mount not taken over, and unmounted: its containers cannot read it any more",
                    ["path": record.path, "image": record.reference, "error": "\(error)"]
                )
                records.remove(record.continuation.name)
                return false
            }
        }
    }

    private func takeOverOnce(_ record: MountRecord) throws {
        let reference = try Reference(record.reference)
        let directory = directories.image(record.image)
        guard (try? FileStatus(path: directory)) != nil else {
            throw ContentError(.notFound, "\(directory): the image's metadata is gone")
        }
        let key = MountKey(image: record.image, layers: record.layers)
        let source = try source(key, reference)
        // Another tree gives the kernel's inodes other files.
        let found = try source.resolve().descriptor.digest
        if let expected = record.manifest, found != expected {
            throw ContentError.corrupt("it shows manifest \(expected), what is stored is \(found)")
        }
        let mount = try mounter.takeOver(source, at: record.path, record.continuation)
        log.info("mount taken over", ["path": record.path, "image": record.reference])
        if mount.isAlive {
            state.update { $0.mounts[key] = mount }
        } else {
            // Out of sight, and served until its last user has ended.
            end(mount)
        }
    }
}
