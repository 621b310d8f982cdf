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
    /// - Throws: `SystemError` if nobody can say what it has served, and what has run out for longer
    ///   than it is waited: then nothing of it may be cleared, and another process may have more.
    func takeOverMounts() throws -> [String] {
        var failed: [String] = []
        var attempts = Self.attempts
        for name in try records.names() {
            if let path = try takeOver(name, &attempts) { failed.append(path) }
        }
        mounter.endTakeover()
        return failed
    }

    /// How often all that runs short is tried again, and the time between, in milliseconds.
    private static let attempts = 10
    private static let pause = 200

    /// Takes a mount over, while attempts are left if something runs short.
    ///
    /// - Returns: where it could not be; nil if nothing of it is left to be cleared.
    private func takeOver(_ name: String, _ attempts: inout Int) throws -> String? {
        while true {
            do {
                return try takeOverOrGiveUp(name)
            } catch {
                guard attempts > 0 else { throw error }
                // Its containers wait meanwhile; given up, they could not read any more.
                attempts -= 1
                _ = isClosed.wait(milliseconds: Self.pause) { $0 ? true : nil }
            }
        }
    }

    /// Takes a mount over, or gives it up for a reason that stays.
    ///
    /// - Throws: what ran short.
    private func takeOverOrGiveUp(_ name: String) throws -> String? {
        let record: MountRecord
        do {
            record = try records.read(name)
        } catch {
            if Self.isShortage(error) { throw error }
            log.warning("what is known of a mount is lost", ["error": "\(error)"])
            records.remove(name)
            return nil
        }
        // Mounts end with the system that they were made on.
        guard record.isOfThisBoot else {
            records.remove(name)
            return nil
        }
        do {
            try takeOver(record)
            return nil
        } catch {
            if Self.isShortage(error) { throw error }
            log.warning(
                "mount not taken over, and unmounted: its containers cannot read it any more",
                ["path": record.path, "image": record.reference, "error": "\(error)"]
            )
            records.remove(name)
            return record.path
        }
    }

    private static func isShortage(_ error: any Error) -> Bool {
        (error as? SystemError)?.isShortage ?? (error as? ContentError)?.isShortage ?? false
    }

    private func takeOver(_ record: MountRecord) throws {
        let reference = try Reference(record.reference)
        let directory = directories.image(record.image)
        do throws(SystemError) {
            _ = try FileStatus(path: directory)
        } catch {
            guard error.isNotFound else { throw error }
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
