// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Distribution
import Linux
import Log
import OCI

/// The converted images that snapshots are made of, and their mounts.
///
/// 1. An image that a snapshot names is in `images/<digest>`: it is complete and safe on storage
///    before the snapshot's row is, and goes after the last row. From it the mount is made, without
///    a request.
/// 2. What is done to one image is done by one thread at a time, and those that waited for a failure
///    share it.
/// 3. An image is let go only while no row names it and nobody has it pinned.
final class LazyImages: Sendable {
    /// A mount of an image, or of its first layers.
    struct MountKey: Hashable {
        var image: Digest
        var layers: Int?
    }

    struct Failure {
        var error: any Error
        var time: UInt64
    }

    struct Remembered {
        var digest: Digest
        var end: UInt64
    }

    struct State {
        /// Images, by digest or by name, that some thread is busy with.
        var busy: Set<String> = []
        var failures: [String: Failure] = [:]
        var chains: [Digest: ImageChain] = [:]
        /// How many threads are about to write a row that names the image.
        var pins: [Digest: Int] = [:]
        /// What tags stood for a moment ago.
        var tags: [Reference: Remembered] = [:]
        var mounts: [MountKey: any ImageMount] = [:]
        /// Since when mounted images have had no user; the time is of a clock that never jumps.
        var idleSince: [Digest: UInt64] = [:]
        /// What could not be mounted when it was last tried.
        var degraded: [Digest: DegradedImage] = [:]
    }

    private enum Turn {
        case mine
        case failed(any Error)
    }

    /// The calls of one pull come within that time, in nanoseconds.
    private static let tagTime: UInt64 = 60_000_000_000
    /// How many documents, failures and tags are kept.
    private static let limit = 256

    let mounter: any ImageMounter
    private let locator: (any ImageLocator)?
    let store: SnapshotStore
    let records: MountRecords
    let directories: SnapshotDirectories
    let log: Logger
    let indexAnswers = IndexAnswers()
    let state = Monitor(State())
    /// Ends the threads.
    let isClosed = Monitor(false)
    let threads = ThreadGroup()

    /// The images of a root directory, mounted as the process before left them; what cannot be taken
    /// over of it is cleared.
    ///
    /// - Throws: `SystemError` if the directories cannot be made; what `takeOverMounts` throws.
    init(
        _ mounter: any ImageMounter,
        _ locator: (any ImageLocator)?,
        _ store: SnapshotStore,
        _ directories: SnapshotDirectories,
        _ log: Logger
    ) throws {
        self.mounter = mounter
        self.locator = locator
        self.store = store
        self.directories = directories
        self.log = log
        records = MountRecords(directories.sessions)
        try directories.makeImageDirectories()
        clearMounts(explained: try takeOverMounts())
        for name in try FileSystem.names(inDirectory: directories.images)
        where Digest(hex: name) == nil {
            try directories.discardImage(name)
        }
    }

    private func clearMounts(explained paths: [String]) {
        do throws(SystemError) {
            let place = try FileSystem.canonicalPath(directories.mounts)
            let below = Array("\(place)/".utf8)
            let alive = state.update { Set($0.mounts.values.map(\.path)) }
            let mounts = try MountTable().entries.filter {
                $0.mountPoint.starts(with: below)
                    && !alive.contains(String(decoding: $0.mountPoint, as: UTF8.self))
            }
            for mount in mounts.reversed() {
                let path = String(decoding: mount.mountPoint, as: UTF8.self)
                try unmountFileSystem(at: path, lazily: true)
                if !paths.contains(path) { log.warning("stale mount cleared", ["path": path]) }
            }
            for name in try FileSystem.names(inDirectory: place)
            where !alive.contains("\(place)/\(name)") {
                try? FileSystem.removeDirectory("\(place)/\(name)")
            }
        } catch {
            log.error("stale mounts stay", ["error": error])
        }
    }

    /// The images of a layer where the client names none.
    func locate(_ chainID: Digest) throws -> [Reference] {
        try locator?.images(withChain: chainID) ?? []
    }

    /// Runs the body with an image that is stored here, fetched if it is not, and stays meanwhile.
    ///
    /// - Parameters:
    ///   - name: names it; without a digest, its tag was asked for a moment ago, or is asked for now.
    ///   - isFresh: whether what a tag was a moment ago does not count.
    ///   - body: gets the image's layers.
    /// - Returns: what the body returns.
    /// - Throws: an error that says why there is no such image; what the body throws.
    func withImage<T>(
        _ name: Reference,
        isFresh: Bool = false,
        _ body: (ImageChain) throws -> T
    ) throws -> T {
        let (digest, reference) = try resolved(name, isFresh: isFresh)
        state.update { $0.pins[digest, default: 0] += 1 }
        defer {
            state.update { state in
                let count = (state.pins[digest] ?? 1) - 1
                state.pins[digest] = count > 0 ? count : nil
            }
        }
        let chain = try alone(digest.oci) { try loadOrFetch(digest, reference) }
        return try body(chain)
    }

    private func resolved(
        _ name: Reference,
        isFresh: Bool
    ) throws -> (digest: Digest, reference: Reference) {
        if let digest = name.digest { return (digest, name) }
        let digest = try alone("\(name)") { () throws -> Digest in
            let now = CurrentProcess.monotonicNanoseconds
            if !isFresh, let known = state.update({ $0.tags[name] }), known.end > now {
                return known.digest
            }
            let digest = try mounter.image(name).resolve().descriptor.digest
            state.update { state in
                if state.tags.count >= Self.limit { state.tags.removeAll() }
                state.tags[name] = Remembered(digest: digest, end: now &+ Self.tagTime)
            }
            return digest
        }
        return (digest, try name.named(by: digest))
    }

    /// Runs the body while nobody else does for the same image.
    func alone<T>(_ key: String, _ body: () throws -> T) throws -> T {
        let arrival = CurrentProcess.monotonicNanoseconds
        let turn = state.wait { state -> Turn? in
            guard !state.busy.contains(key) else { return nil }
            if let failure = state.failures[key], failure.time >= arrival {
                return .failed(failure.error)
            }
            state.busy.insert(key)
            return .mine
        }
        if case .failed(let error) = turn { throw error }
        do {
            let result = try body()
            state.update { state in
                state.busy.remove(key)
                state.failures[key] = nil
            }
            return result
        } catch {
            let time = CurrentProcess.monotonicNanoseconds
            state.update { state in
                state.busy.remove(key)
                if state.failures.count >= Self.limit { state.failures.removeAll() }
                state.failures[key] = Failure(error: error, time: time)
            }
            throw error
        }
    }

    /// An image's layers, from here or from its registry; alone with the image.
    private func loadOrFetch(_ digest: Digest, _ reference: Reference) throws -> ImageChain {
        if let known = state.update({ $0.chains[digest] }) { return known }
        let chain = try load(digest, reference) ?? fetch(digest, reference)
        state.update { state in
            if state.chains.count >= Self.limit { state.chains.removeAll() }
            state.chains[digest] = chain
        }
        return chain
    }

    private func load(_ digest: Digest, _ reference: Reference) throws -> ImageChain? {
        let directory = directories.image(digest)
        guard (try? FileStatus(path: directory)) != nil else { return nil }
        do {
            let image = try stored(reference, directory).resolve()
            guard image.descriptor.digest == digest else {
                throw ContentError.corrupt("\(directory): of image \(image.descriptor.digest)")
            }
            return try ImageChain(image, reference)
        } catch let error as ContentError {
            log.error(
                "an image's metadata is damaged: fetched again",
                ["image": reference, "error": error]
            )
            try directories.discardImage(digest.hex)
            return nil
        }
    }

    private func fetch(_ digest: Digest, _ reference: Reference) throws -> ImageChain {
        let begin = CurrentProcess.monotonicNanoseconds
        let directory = directories.image(digest)
        let temporary = directory + ".new"
        try directories.discardImage("\(digest.hex).new")
        let image = try StoredImage.store(mounter.image(reference), in: temporary)
        let chain = try ImageChain(image, reference)
        try FileSystem.rename(temporary, to: directory)
        try FileSystem.synchronizeDirectory(directories.images)
        let elapsed = (CurrentProcess.monotonicNanoseconds &- begin) / 1_000_000
        log.info(
            "image's metadata stored",
            ["image": reference, "layers": chain.layers.count, "milliseconds": elapsed]
        )
        return chain
    }

    func stored(_ reference: Reference, _ directory: String) -> StoredImage {
        StoredImage(directory: directory, of: mounter.image(reference))
    }
}
