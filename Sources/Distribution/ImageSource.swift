// SPDX-License-Identifier: Apache-2.0
//
// Distribution: finds images and puts them away, in layouts and archives; registries will conform
// to the same two protocols.

package import Content
package import OCI

/// Where an image is read from.
package protocol ImageSource: Sendable {
    /// The image's name, for messages.
    var name: String { get }

    /// Finds the image, and reads its manifest and configuration.
    ///
    /// - Returns: the image, both documents verified by size and digest.
    /// - Throws: an error that says what is missing or wrong.
    func resolve() throws -> ResolvedImage

    /// The manifest or index the name stands for, whatever platform is wanted.
    ///
    /// - Returns: its descriptor; `openBlob` gives its bytes.
    /// - Throws: an error that says what is missing or wrong.
    func root() throws -> Descriptor

    /// The manifests that name this one as their subject: signatures, bills of materials.
    ///
    /// - Parameter manifest: the subject.
    /// - Returns: their descriptors; `openBlob` gives their bytes.
    /// - Throws: an error that says what is missing or wrong.
    func referrers(of manifest: Descriptor) throws -> [Descriptor]

    /// The manifests that name this one as their subject, perhaps only those of a type.
    ///
    /// - Parameters:
    ///   - manifest: the subject.
    ///   - type: the artifactType that is wanted.
    /// - Returns: their descriptors.
    /// - Throws: an error that says what is missing or wrong.
    func referrers(of manifest: Descriptor, ofType type: String) throws -> ReferrerList

    /// All manifests that the name leads to, indexes unfolded, in their order.
    ///
    /// - Returns: their descriptors, as the indexes have them.
    /// - Throws: an error that says what is missing or wrong.
    func manifests() throws -> [Descriptor]

    /// Reads a manifest and its configuration.
    ///
    /// - Parameter manifest: one of `manifests()`.
    /// - Returns: the image, both documents verified by size and digest.
    /// - Throws: an error that says what is missing or wrong, or that it is no container image.
    func resolve(_ manifest: Descriptor) throws -> ResolvedImage

    /// A blob as it is stored, front to back, not verified: see `VerifyingStream`.
    ///
    /// - Parameter blob: names it.
    /// - Returns: the blob's bytes.
    /// - Throws: an error if there is no such blob, or its size is known to be another.
    func openBlob(_ blob: Descriptor) throws -> AnyByteStream

    /// A blob as it is stored, by ranges, not verified.
    ///
    /// - Parameter blob: names it.
    /// - Returns: the blob's bytes by ranges.
    /// - Throws: an error if there is no such blob, or its size is known to be another.
    func blobSource(_ blob: Descriptor) throws -> any BlobSource
}

/// What holds where a name leads to one image only.
extension ImageSource {
    package func manifests() throws -> [Descriptor] { [try resolve().descriptor] }

    package func resolve(_ manifest: Descriptor) throws -> ResolvedImage { try resolve() }

    package func root() throws -> Descriptor { try resolve().descriptor }

    package func referrers(of manifest: Descriptor) throws -> [Descriptor] { [] }

    package func referrers(of manifest: Descriptor, ofType type: String) throws -> ReferrerList {
        ReferrerList(manifests: try referrers(of: manifest), isFiltered: false)
    }
}

/// What refers to a manifest.
package struct ReferrerList: Sendable {
    /// The descriptors.
    package var manifests: [Descriptor]
    /// Whether only those of the wanted type are among them.
    package var isFiltered: Bool
}

/// An image with its documents.
package struct ResolvedImage: Sendable {
    /// Names the manifest.
    package let descriptor: Descriptor
    /// The manifest's bytes, of which `descriptor` holds the digest.
    package let manifestBytes: [UInt8]
    /// The manifest.
    package let manifest: Manifest
    /// The configuration's bytes.
    package let configBytes: [UInt8]
    /// The configuration.
    package let config: ImageConfig

    /// The image of the two documents.
    ///
    /// - Parameters:
    ///   - descriptor: names the manifest.
    ///   - manifestBytes: the manifest, verified.
    ///   - configBytes: gives the configuration, verified, that the manifest names.
    /// - Throws: `ContentError` if a document is malformed or the two contradict each other.
    package init(
        descriptor: Descriptor,
        manifestBytes: [UInt8],
        configBytes: (Descriptor) throws -> [UInt8]
    ) throws {
        self.descriptor = descriptor
        self.manifestBytes = manifestBytes
        manifest = try Manifest(parsing: manifestBytes, mediaType: descriptor.mediaType)
        try manifest.checkIsImage()
        self.configBytes = try configBytes(manifest.config)
        config = try ImageConfig(parsing: self.configBytes)
        guard config.diffIDs.count == manifest.layers.count else {
            throw ContentError.corrupt(
                "image has \(manifest.layers.count) layers in its manifest,"
                    + " \(config.diffIDs.count) diff_ids in its config"
            )
        }
    }
}

/// Where an image is written to.
///
/// Blobs first, each committed on its own; the manifest last, once all that it names is there. So
/// an interrupted writer leaves nothing that looks like an image.
package protocol ImageDestination: Sendable {
    /// The image's name, for messages.
    var name: String { get }

    /// Begins a blob whose digest and size turn out as it is written.
    ///
    /// - Throws: an error if nothing can be written there.
    func makeBlob() throws -> any BlobUpload

    /// Whether a blob is there already, going by its name and size.
    ///
    /// - Parameter blob: names it.
    /// - Returns: false also where that is not known.
    /// - Throws: an error if it cannot be found out.
    func hasBlob(_ blob: Descriptor) throws -> Bool

    /// Stores a manifest or an index, and tags it.
    ///
    /// - Parameters:
    ///   - manifest: the document's bytes.
    ///   - mediaType: which kind of manifest or index.
    ///   - tag: its tag; what bore the tag before loses it; nil for a manifest that an index
    ///     will name.
    /// - Returns: the manifest's descriptor.
    /// - Throws: an error if a blob it names is missing, or it cannot be stored.
    @discardableResult
    func put(manifest: [UInt8], mediaType: MediaType, tag: String?) throws -> Descriptor

    /// Whether a manifest or an index is there already, with all it names, under the tag.
    ///
    /// - Parameters:
    ///   - manifest: names it.
    ///   - tag: its tag; nil if it needs none.
    /// - Returns: false also where that is not known.
    /// - Throws: an error if it cannot be found out.
    func hasManifest(_ manifest: Descriptor, tag: String?) throws -> Bool

    /// Stores a blob of a source as it is, verified.
    ///
    /// - Parameters:
    ///   - blob: names it.
    ///   - source: has it.
    ///   - progress: counts the bytes as they pass.
    /// - Returns: whether it was sent: it may have been there.
    /// - Throws: an error if it cannot be read, is not what its digest says, or cannot be stored.
    @discardableResult
    func copyBlob(
        _ blob: Descriptor,
        from source: any ImageSource,
        progress: ByteCounter?
    ) throws -> Bool
}

extension ImageDestination {
    /// Stores bytes as a blob.
    ///
    /// - Parameters:
    ///   - bytes: the blob.
    ///   - mediaType: what it is.
    /// - Returns: its descriptor.
    /// - Throws: an error if it cannot be stored.
    package func putBlob(_ bytes: [UInt8], mediaType: MediaType) throws -> Descriptor {
        let (digest, size) = try writeBlob { upload in
            try upload.write(bytes.rawSpan)
            return try upload.commit()
        }
        return Descriptor(mediaType: mediaType, digest: digest, size: size)
    }

    /// Writes a blob; from its beginning again where the destination has lost it on the way.
    ///
    /// - Parameter body: writes and commits all of it; called three times at most.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    package func writeBlob<T>(_ body: (any BlobUpload) throws -> T) throws -> T {
        for _ in 0..<2 {
            let upload = try makeBlob()
            do {
                return try body(upload)
            } catch  where upload.isLost {}
        }
        return try body(try makeBlob())
    }

    package func hasManifest(_ manifest: Descriptor, tag: String?) throws -> Bool { false }

    /// Stores a blob of a source as it is, verified.
    package func copyBlob(_ blob: Descriptor, from source: any ImageSource) throws {
        try copyBlob(blob, from: source, progress: nil)
    }

    package func copyBlob(
        _ blob: Descriptor,
        from source: any ImageSource,
        progress: ByteCounter?
    ) throws -> Bool {
        try streamBlob(blob, from: source, progress: progress)
        return true
    }

    /// Sends a blob of a source, verified, whether it is there or not.
    func streamBlob(
        _ blob: Descriptor,
        from source: any ImageSource,
        progress: ByteCounter?
    ) throws {
        var stream = VerifyingStream(
            try source.openBlob(blob),
            digest: blob.digest,
            size: blob.size,
            object: "blob \(blob.digest)",
            progress: progress
        )
        let upload = try makeBlob()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        while true {
            let count = try unsafe stream.read(into: buffer)
            guard count > 0 else { break }
            try unsafe upload.write(
                RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            )
        }
        _ = try upload.commit()
    }
}

/// A blob on its way to a destination; dropped before `commit`, it leaves nothing behind.
///
/// Used by one thread at a time.
package protocol BlobUpload: AnyObject, ByteSink {
    /// Takes the next bytes of the blob.
    ///
    /// - Parameter bytes: the bytes; not kept beyond the call.
    /// - Throws: `ContentError` if they cannot be stored.
    func write(_ bytes: RawSpan) throws(ContentError)

    /// Puts the blob in its place, safe on storage; once, as the last call.
    ///
    /// - Returns: the digest and size of what was written.
    /// - Throws: `ContentError` if it cannot be stored.
    func commit() throws(ContentError) -> (digest: Digest, size: UInt64)

    /// Whether the destination has lost what was written: the blob may be written once more, to
    /// another upload.
    var isLost: Bool { get }
}

extension BlobUpload {
    /// Files are not lost.
    package var isLost: Bool { false }
}
