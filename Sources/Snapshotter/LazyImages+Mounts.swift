// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Linux
import Log
import OCI

/// The images' mounts, from the first use to the last.
extension LazyImages {
    /// Where the files of a layer, and of those below it, are mounted; mounted if they are not.
    ///
    /// - Parameter layer: the topmost layer wanted.
    /// - Returns: the directory.
    /// - Throws: an error that says why it cannot be mounted.
    func mountPoint(_ layer: LazyLayer) throws -> String {
        try keepingAccount(of: layer) {
            let reference = try Reference(layer.reference)
            return try withImage(reference) { chain in
                let layers = chain.mountedLayers(upTo: layer.index)
                let key = MountKey(image: layer.image, layers: layers)
                let known = state.update { state -> (any ImageMount)? in
                    // The caller writes the row of the one who uses it when it knows the place.
                    state.idleSince[layer.image] = nil
                    return state.mounts[key]
                }
                if let known, known.isAlive { return known.path }
                return try alone(layer.image.oci) { try mount(key, reference) }
            }
        }
    }

    /// Mounts, unless another thread just has; alone with the image.
    private func mount(_ key: MountKey, _ reference: Reference) throws -> String {
        if let known = state.update({ $0.mounts[key] }) {
            if known.isAlive { return known.path }
            log.warning("a mount is gone: made again", ["path": known.path])
            state.update { $0.mounts[key] = nil }
            end(known)
        }
        let part = key.layers.map { "-\($0)" } ?? ""
        let place = "\(directories.mounts)/\(key.image.hex)\(part)"
        // A dead mount may be on it: then there is nothing to make.
        try? FileSystem.makeDirectories(place, mode: 0o700)
        let made: any ImageMount
        do {
            made = try mounter.mount(try source(key, reference), at: place)
        } catch let error as ContentError where !error.message.hasPrefix("\(reference)") {
            // Who pulls sees nothing but this.
            throw error.at("\(reference)")
        }
        record(made, key, reference)
        state.update { $0.mounts[key] = made }
        return made.path
    }

    /// The image, or its first layers, whose merged bootstrap is kept beside it.
    func source(_ key: MountKey, _ reference: Reference) throws -> StoredImage {
        let directory = directories.image(key.image)
        guard let count = key.layers else { return stored(reference, directory) }
        let part = "\(directory)/layers-\(count)"
        if (try? FileStatus(path: part)) == nil {
            let temporary = part + ".new"
            try directories.discardImage("\(key.image.hex)/layers-\(count).new")
            let prefix = try mounter.prefix(of: stored(reference, directory), layers: count)
            // What was made here of an index over another image is nowhere else.
            let isIndex = try prefix.resolve().manifest.layers.contains { $0.originalLayer != nil }
            try StoredImage.store(prefix, in: temporary, keepsBlobs: isIndex)
            try FileSystem.rename(temporary, to: part)
            try FileSystem.synchronizeDirectory(directory)
        }
        return stored(reference, part)
    }

    /// Lets an image go that no snapshot names any more: its mounts and what is stored of it.
    ///
    /// - Throws: `SystemError`, `DatabaseError`.
    func release(_ image: Digest) throws {
        try alone(image.oci) {
            let isPinned = state.update { $0.pins[image] != nil }
            guard try !isPinned && !store.read({ rows in try rows.hasSnapshots(of: image) }) else {
                return
            }
            let mounts = state.update { state in
                state.chains[image] = nil
                state.degraded[image] = nil
                let mounts = state.mounts.filter { $0.key.image == image }
                for key in mounts.keys { state.mounts[key] = nil }
                return Array(mounts.values)
            }
            for mount in mounts {
                end(mount)
                try? FileSystem.removeDirectory(mount.path)
            }
            try directories.discardImage(image.hex)
        }
    }

    /// Lets all images go that no snapshot names, and frees what is cached of them.
    ///
    /// - Throws: `SystemError`, `DatabaseError`; what freeing throws.
    func collect() throws {
        var kept: Set<Digest> = []
        for name in try FileSystem.names(inDirectory: directories.images) {
            guard let digest = Digest(hex: name) else { continue }
            try release(digest)
            let directory = directories.image(digest)
            guard (try? FileStatus(path: directory)) != nil else { continue }
            let image = try OCILayout(directory: directory, tag: nil).resolve()
            kept.formUnion(image.manifest.layers.map(\.digest))
            // Those of another image, where its data is.
            kept.formUnion(image.manifest.layers.compactMap(\.originalLayer))
        }
        try mounter.freeCache(keeping: kept)
    }

    /// Takes the mounts out of sight that end with this process; the others stay for the next one.
    func close() {
        isClosed.update { $0 = true }
        threads.wait()
        let mounts = state.update { state in
            let ending = state.mounts.filter { $0.value.continuation == nil }
            for key in ending.keys { state.mounts[key] = nil }
            return Array(ending.values)
        }
        for mount in mounts { end(mount) }
    }
}
