// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
package import OCI
import Synchronization

extension OCILayout: ImageDestination {
    package func makeBlob() throws -> any BlobUpload {
        try makeDirectories()
        return try locked { () throws(SystemError) in
            removeAbandonedFiles()
            return LayoutBlobUpload(try TemporaryFile(in: directory), layout: self)
        }
    }

    package func hasBlob(_ blob: Descriptor) -> Bool {
        (try? FileStatus(path: blobPath(blob.digest)).size) == blob.size
    }

    package func put(
        manifest bytes: [UInt8],
        mediaType: MediaType,
        tag: String?
    ) throws -> Descriptor {
        let named: [Descriptor]
        if mediaType.isIndex {
            named = try Index(parsing: bytes, mediaType: mediaType).manifests
        } else {
            let manifest = try Manifest(parsing: bytes, mediaType: mediaType)
            named = [manifest.config] + manifest.layers
        }
        try check(named)
        let descriptor = try putBlob(bytes, mediaType: mediaType)
        // What refers to another manifest is found by being listed.
        let document = try JSONValue(parsing: bytes, document: "manifest")
        guard tag != nil || document["subject"]?["digest"] != nil else { return descriptor }
        // Read, changed and replaced under one lock; see invariant 3.
        try locked { () throws in
            // Nobody has collected what was there a moment ago.
            try check(named)
            try replaceIndex(try indexDocument(adding: descriptor, document, tag: tag).serialized())
        }
        return descriptor
    }

    /// Checks that blobs are there.
    private func check(_ blobs: [Descriptor]) throws(ContentError) {
        for blob in blobs {
            _ = try FileStream(blobPath(blob.digest), expectedSize: blob.size)
        }
    }

    /// Puts another `index.json` in its place; with the layout locked.
    func replaceIndex(_ text: [UInt8]) throws(SystemError) {
        let file = try TemporaryFile(in: directory)
        try file.write(text.rawSpan)
        try file.moveIntoPlace(indexPath, in: directory)
    }

    /// The index with the manifest under its tag; everything else as it is.
    private func indexDocument(
        adding descriptor: Descriptor,
        _ document: JSONValue,
        tag: String?
    ) throws(ContentError) -> JSONValue {
        var added = descriptor
        added.annotations[Self.tagKey] = tag
        if tag == nil, let type = document["artifactType"] {
            added.otherFields["artifactType"] = type
        }
        let old: [UInt8]
        do throws(ContentError) {
            old = try DirectoryFiles(place: directory)
                .contents(of: "index.json", limit: JSONValue.documentLimit)
        } catch {
            guard error.kind == .notFound else { throw error }
            var index = Index()
            index.manifests = [added]
            return index.json
        }
        var index = try Index(parsing: old, document: indexPath)
        guard let tag else {
            // Under whatever tag: it is listed.
            if !index.manifests.contains(where: { $0.digest == added.digest }) {
                index.manifests.append(added)
            }
            return index.json
        }
        if let first = index.manifests.firstIndex(where: { $0.annotations[Self.tagKey] == tag }) {
            index.manifests[first] = added
            let rest = index.manifests[(first + 1)...]
                .filter { $0.annotations[Self.tagKey] != tag }
            index.manifests = index.manifests[...first] + rest
        } else {
            index.manifests.append(added)
        }
        return index.json
    }

    /// Makes what is missing of the layout.
    private func makeDirectories() throws(SystemError) {
        try FileSystem.makeDirectories(blobDirectory)
        // Not made elsewhere and renamed: a lock on a file that is replaced holds nobody off.
        let marker = try FileSystem.openOrCreate(markerPath)
        try marker.lock(markerPath)
        guard try marker.status(markerPath).size == 0 else { return }
        let text = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)
        try marker.write(text.rawSpan, markerPath)
        try marker.synchronizeData(markerPath)
        try FileSystem.synchronizeDirectory(directory)
    }

    /// Runs the body while no other process, and no other thread, is in here for this layout.
    func locked<T, Failure: Error>(
        _ body: () throws(Failure) -> T
    ) throws -> T {
        let marker = try FileSystem.openForUpdate(markerPath)
        try marker.lock(markerPath)
        return try body()
    }

    /// Removes what dead writers left; with the layout locked.
    ///
    /// What cannot be removed stays: it is in nobody's way.
    private func removeAbandonedFiles() {
        guard let names = try? FileSystem.names(inDirectory: directory) else { return }
        for name in names where TemporaryFile.isName(name) {
            let path = "\(directory)/\(name)"
            guard let file = try? FileSystem.openForUpdate(path),
                (try? file.tryLock(path)) == true
            else { continue }
            try? FileSystem.removeFile(path)
        }
    }
}

/// A file that has no name of worth yet, and goes away with its owner.
final class TemporaryFile {
    private let descriptor: OwnedDescriptor
    private let path: String
    private var isInPlace = false

    private static let prefix = ".lazypull-"
    private static let counter = Atomic<UInt64>(0)

    /// Makes a locked file; the caller holds the layout's lock.
    ///
    /// - Parameter directory: where; on the file system of its later place.
    /// - Throws: `SystemError` if it cannot be made.
    init(in directory: String) throws(SystemError) {
        // A number may be in use by a process of the same id in another container.
        while true {
            let number = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
            let path = "\(directory)/\(Self.prefix)\(CurrentProcess.id)-\(number).tmp"
            do throws(SystemError) {
                descriptor = try FileSystem.create(path)
                self.path = path
                break
            } catch {
                guard error.isAlreadyThere else { throw error }
            }
        }
        // Nobody else can have it: whoever clears away holds the layout's lock.
        try descriptor.lock(path)
    }

    deinit {
        // A failure leaves rubbish that the next writer clears away.
        if !isInPlace { try? FileSystem.removeFile(path) }
    }

    /// Appends bytes to the content.
    func write(_ bytes: RawSpan) throws(SystemError) {
        try descriptor.write(bytes, path)
    }

    /// Makes the content safe on storage, then the name.
    func moveIntoPlace(_ place: String, in directory: String) throws(SystemError) {
        try descriptor.synchronizeData(path)
        try FileSystem.rename(path, to: place)
        isInPlace = true
        try FileSystem.synchronizeDirectory(directory)
    }

    static func isName(_ name: String) -> Bool {
        name.hasPrefix(prefix) && name.hasSuffix(".tmp")
    }
}
