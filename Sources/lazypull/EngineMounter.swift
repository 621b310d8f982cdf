// SPDX-License-Identifier: Apache-2.0

internal import Content
internal import Convert
internal import Distribution
internal import FUSE
internal import Layers
internal import Linux
internal import Log
internal import Mount
internal import OCI
internal import Snapshotter

/// Mounts images for the snapshotter, all with one engine, from their registries.
final class EngineMounter: ImageMounter {
    private let engine: MountEngine
    private let registries: RegistryAccess
    private let limits: LayerLimits
    private let log: Logger
    /// What is waited for.
    private let mounts = Monitor(MountCounts())

    /// How long mounts may take to end, in milliseconds: those in use do not.
    private static let patience = 2_000

    init(
        _ options: MountOptions,
        _ registries: RegistryAccess,
        _ limits: LayerLimits,
        _ log: Logger
    ) throws {
        engine = try MountEngine(options, log)
        self.registries = registries
        self.limits = limits
        self.log = log
    }

    func image(_ reference: Reference) -> any ImageSource {
        RegistrySource(reference, selection: ImageSelection(form: .converted), registries)
    }

    func prefix(of image: any ImageSource, layers count: Int) throws -> any ImageSource {
        try LayerPrefix(of: image, layers: count, limits: limits)
    }

    func mount(_ image: any ImageSource, at directory: String) throws -> any ImageMount {
        let mounted = try engine.mount(image, at: try MountPoint(directory))
        mounts.update { $0.open += 1 }
        return EngineMount(mounted, mounts, log)
    }

    func freeCache(keeping blobs: Set<Digest>) throws {
        // What an ending mount has open is not freed before the next time.
        _ = mounts.wait(milliseconds: Self.patience) { $0.ending == 0 ? true : nil }
        try engine.freeCache(keeping: blobs)
    }

    /// Ends, after all mounts were taken out of sight; what is still in use is served no more.
    func close() {
        let isQuiet = mounts.wait(milliseconds: Self.patience) { $0.open == 0 ? true : nil }
        guard isQuiet == true else {
            log.warning("images are in use: their containers cannot read them any more")
            return engine.abandon()
        }
        engine.close()
    }
}

/// How many mounts an engine has.
private struct MountCounts {
    /// Those that have not ended.
    var open = 0
    /// Those of them that were taken out of sight.
    var ending = 0
}

/// A mount of the engine's.
private final class EngineMount: ImageMount {
    let path: String
    private let mounted: MountedImage
    private let device: UInt64?
    private let counts: Monitor<MountCounts>
    private let log: Logger

    init(_ mounted: MountedImage, _ counts: Monitor<MountCounts>, _ log: Logger) {
        path = mounted.point.path
        // What tells it from the directory below, and from what else is mounted there.
        device = try? FileStatus(path: mounted.point.path).device
        self.mounted = mounted
        self.counts = counts
        self.log = log
    }

    var isAlive: Bool {
        let ended = try? waitForInput(on: [mounted.endDescriptor], milliseconds: 0)
        // The root's attributes are in the kernel: nobody is asked.
        return ended == nil && device != nil && (try? FileStatus(path: path).device) == device
    }

    func unmount() {
        counts.update { $0.ending += 1 }
        mounted.unmount()
        do throws(SystemError) {
            let thread = try WorkerThread(name: "unmount") { self.awaitEnd() }
            thread.detach()
        } catch {
            log.error("a mount's end is not waited for", ["path": path, "error": error])
        }
    }

    private func awaitEnd() {
        do throws(SystemError) {
            try mounted.close()
        } catch {
            log.error("a mount did not end", ["path": path, "error": error])
        }
        counts.update { counts in
            counts.open -= 1
            counts.ending -= 1
        }
    }
}
