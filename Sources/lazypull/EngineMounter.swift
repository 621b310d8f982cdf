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
    private let indexes: IndexSearch
    private let cacheDirectory: String
    private let descriptors: MountDescriptors
    private let log: Logger
    /// What is waited for.
    private let mounts = Monitor(MountCounts())

    /// How long mounts may take to end, in milliseconds: those in use do not.
    private static let patience = 2_000

    init(
        _ options: MountOptions,
        _ registries: RegistryAccess,
        _ limits: LayerLimits,
        _ indexes: IndexSearch,
        _ descriptors: MountDescriptors,
        _ log: Logger
    ) throws {
        var options = options
        options.refusesAbsentXattrs = false
        engine = try MountEngine(options, log)
        // Until the process ends: requests that it has not answered would be answered with an error
        // when the engine goes, and the next process could not any more.
        _ = unsafe Unmanaged.passRetained(engine)
        self.descriptors = descriptors
        self.registries = registries
        self.limits = limits
        self.indexes = indexes
        self.log = log
        cacheDirectory = options.cacheDirectory
        removeAbandonedPrefixes()
    }

    func image(_ reference: Reference) -> any ImageSource {
        let image = RegistrySource(
            reference,
            selection: ImageSelection(form: .converted),
            registries
        )
        guard let digest = reference.digest else { return image }
        return indexes.withDirectory(image, digest: digest)
    }

    var findsIndexes: Bool { !indexes.isOff }

    func index(over image: Reference, manifest: Digest?) throws -> FoundIndex? {
        try indexes.find(over: image, manifest: manifest)
    }

    func prefix(of image: any ImageSource, layers count: Int) throws -> any ImageSource {
        guard try IndexPrefix.isIndex(image) else {
            return try LayerPrefix(of: image, layers: count, limits: limits)
        }
        log.info("layers are read to mount them alone", ["image": image.name, "layers": count])
        return try IndexPrefix(
            of: image,
            layers: count,
            in: "\(cacheDirectory)/\(Self.prefixes)\(CurrentProcess.randomName)",
            threads: CurrentProcess.processorCount,
            limits: limits
        )
    }

    /// What the directories' names begin with in which indexes over an image's first layers are made.
    private static let prefixes = "prefix-"

    /// Those that a process which was killed has left; the cache is this process's alone.
    private func removeAbandonedPrefixes() {
        let names = (try? FileSystem.names(inDirectory: cacheDirectory)) ?? []
        for name in names where name.hasPrefix(Self.prefixes) {
            _ = try? Trash.empty("\(cacheDirectory)/\(name)") { true }
            try? FileSystem.removeDirectory("\(cacheDirectory)/\(name)")
        }
    }

    func mount(_ image: any ImageSource, at directory: String) throws -> any ImageMount {
        let mounted = try engine.mount(image, at: try MountPoint(directory))
        return EngineMount(mounted, continuation(mounted), descriptors, mounts, log)
    }

    /// Has the mount outlive the process.
    private func continuation(_ mounted: MountedImage) -> MountContinuation? {
        do throws(SystemError) {
            let device = try FileStatus(path: mounted.point.path).device
            return MountContinuation(
                name: try descriptors.put(mounted.duplicateDescriptor()),
                device: device,
                initRequest: mounted.keptInitRequest
            )
        } catch {
            log.warning(
                "a mount will not outlive this process",
                ["path": mounted.point.path, "error": error]
            )
            return nil
        }
    }

    func takeOver(
        _ image: any ImageSource,
        at directory: String,
        _ continuation: MountContinuation
    ) throws -> any ImageMount {
        let point = MountPoint(known: directory)
        let mounted = try engine.takeOver(
            image,
            at: point,
            device: descriptors.take(continuation.name),
            initRequest: continuation.initRequest
        )
        descriptors.confirm(continuation.name)
        return EngineMount(mounted, continuation, descriptors, mounts, log)
    }

    func endTakeover() {
        descriptors.dropUntaken()
    }

    func freeCache(keeping blobs: Set<Digest>) throws {
        // What an ending mount has open is not freed before the next time.
        _ = mounts.wait(milliseconds: Self.patience) { $0.ending == 0 ? true : nil }
        try engine.freeCache(keeping: blobs)
    }

    /// Ends; what is still mounted is the next process's.
    func close() {
        _ = mounts.wait(milliseconds: Self.patience) { $0.ending == 0 ? true : nil }
        let (open, mortal) = mounts.update { ($0.open, $0.mortal) }
        if mortal > 0 {
            log.warning("images are in use: their containers cannot read them any more")
        }
        guard open > 0 else { return engine.close() }
        engine.flush()
        log.info("mounts stay for the next process", ["mounts": open - mortal])
    }
}

/// How many mounts an engine has.
private struct MountCounts {
    /// Those that have not ended.
    var open = 0
    /// Those of them that were taken out of sight.
    var ending = 0
    /// Those that end with this process.
    var mortal = 0
}

/// A mount of the engine's.
private final class EngineMount: ImageMount {
    let path: String
    private let mounted: MountedImage
    let continuation: MountContinuation?
    private let device: UInt64?
    private let descriptors: MountDescriptors
    private let counts: Monitor<MountCounts>
    private let log: Logger

    init(
        _ mounted: MountedImage,
        _ continuation: MountContinuation?,
        _ descriptors: MountDescriptors,
        _ counts: Monitor<MountCounts>,
        _ log: Logger
    ) {
        path = mounted.point.path
        // What tells it from the directory below, and from what else is mounted there.
        device = continuation?.device ?? (try? FileStatus(path: mounted.point.path).device)
        self.continuation = continuation
        self.descriptors = descriptors
        self.mounted = mounted
        self.counts = counts
        self.log = log
        counts.update { counts in
            counts.open += 1
            if continuation == nil { counts.mortal += 1 }
        }
    }

    var isAlive: Bool {
        let ended = try? waitForInput(on: [mounted.endDescriptor], milliseconds: 0)
        // The root's attributes are in the kernel: nobody is asked.
        return ended == nil && device != nil && (try? FileStatus(path: path).device) == device
    }

    func unmount(_ ended: @escaping @Sendable () -> Void) {
        counts.update { $0.ending += 1 }
        // Something else may be there by now.
        if let device, mounted.point.shows(device: device) { mounted.unmount() }
        do throws(SystemError) {
            let thread = try WorkerThread(name: "unmount") { self.awaitEnd(ended) }
            thread.detach()
        } catch {
            log.error("a mount's end is not waited for", ["path": path, "error": error])
        }
    }

    private func awaitEnd(_ ended: () -> Void) {
        do throws(SystemError) {
            try mounted.close()
        } catch {
            log.error("a mount did not end", ["path": path, "error": error])
        }
        ended()
        if let continuation { descriptors.remove(continuation.name) }
        counts.update { counts in
            counts.open -= 1
            if continuation == nil { counts.mortal -= 1 }
            counts.ending -= 1
        }
    }
}
