// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Log

/// Mounts that no container uses any more.
///
/// They stay for a while, since unmounting drops what the kernel has cached of the image's files,
/// and the next container reads most of the same.
extension LazyImages {
    /// How often it is looked for them, in milliseconds.
    private static let interval = 60_000

    /// From time to time, takes mounts away that have not been used for long, and tries again what
    /// could not be mounted, until `close`.
    ///
    /// - Parameter seconds: how long nobody has used such a mount.
    /// - Throws: `SystemError` if there is no thread.
    func startWatch(idleSeconds seconds: Int) throws(SystemError) {
        let limit = UInt64(max(1, seconds)) &* 1_000_000_000
        let interval = min(Self.interval, max(1, seconds / 4) * 1_000)
        try threads.start(name: "images") {
            while self.isClosed.wait(milliseconds: interval, for: { $0 ? true : nil }) == nil {
                self.unmountIdle(after: limit, now: CurrentProcess.monotonicNanoseconds)
                self.retryDegraded()
            }
        }
    }

    /// Takes mounts away of images that nobody has used for so long.
    ///
    /// - Parameters:
    ///   - limit: how long, in nanoseconds.
    ///   - now: the time, of a clock that never jumps.
    func unmountIdle(after limit: UInt64, now: UInt64) {
        do {
            let used = try store.read { rows in try rows.imagesInUse() }
            let idle = state.update { state -> [Digest] in
                let mounted = Set(state.mounts.keys.map(\.image))
                state.idleSince = state.idleSince.filter {
                    mounted.contains($0.key) && !used.contains($0.key)
                }
                for image in mounted.subtracting(used) where state.idleSince[image] == nil {
                    state.idleSince[image] = now
                }
                return state.idleSince.filter { now &- $0.value >= limit }.map(\.key)
            }
            for image in idle { try unmount(image) }
        } catch {
            log.warning("images that nobody uses stay mounted", ["error": "\(error)"])
        }
    }

    /// Takes an image's mounts away, unless somebody has begun to use it.
    private func unmount(_ image: Digest) throws {
        try alone(image.oci) {
            let mounts = state.update { state -> [any ImageMount] in
                // Whoever was told a mount's place a moment ago has taken the image out of these, and
                // whoever is about to be told has it pinned.
                guard state.idleSince[image] != nil, state.pins[image] == nil else { return [] }
                state.idleSince[image] = nil
                let mounts = state.mounts.filter { $0.key.image == image }
                for key in mounts.keys { state.mounts[key] = nil }
                return Array(mounts.values)
            }
            for mount in mounts {
                log.info("nobody uses it any more: unmounted", ["path": mount.path])
                end(mount)
                try? FileSystem.removeDirectory(mount.path)
            }
        }
    }
}
