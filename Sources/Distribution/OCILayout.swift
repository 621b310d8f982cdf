// SPDX-License-Identifier: Apache-2.0

package import Content
import Linux
package import OCI

/// An image in an OCI layout directory (image-spec, "OCI Image Layout"), to read or to write.
///
/// 1. Paths of blobs are made from parsed digests only.
/// 2. A blob has its name only when all of it is on storage, and is never changed afterwards.
/// 3. `index.json` is replaced whole, under a lock on `oci-layout`, which is itself never
///    replaced: writers at the same time do not lose each other's tags.
/// 4. Temporary files are locked while their writer lives; an unlocked one is rubbish. They are
///    made, and cleared away, under the lock of 3, so that none is seen before it is locked.
package struct OCILayout: Sendable {
    /// The directory.
    package let directory: String
    /// The tag wanted; nil for the only image there is.
    package let tag: String?

    /// The image with the tag in the directory; nothing is opened yet.
    package init(directory: String, tag: String?) {
        self.directory = directory
        self.tag = tag
    }

    /// The image's name, for messages.
    package var name: String { ImageName.layout(directory: directory, tag: tag).description }

    var markerPath: String { "\(directory)/oci-layout" }
    var indexPath: String { "\(directory)/index.json" }
    var blobDirectory: String { "\(directory)/blobs/sha256" }

    func blobPath(_ digest: Digest) -> String { "\(blobDirectory)/\(digest.hex)" }

    /// Reads a small file.
    func contents(of path: String, limit: Int) throws(ContentError) -> [UInt8] {
        var stream = try FileStream(path)
        do throws(ContentError) {
            return try stream.readAll(limit: limit)
        } catch {
            throw error.at(path)
        }
    }
}

extension OCILayout: ImageSource {
    package func resolve() throws -> ResolvedImage {
        try checkMarker()
        let manifest = try findManifest()
        return try ResolvedImage(
            descriptor: manifest,
            manifestBytes: try document(manifest, "manifest")
        ) { config in
            try document(config, "image config")
        }
    }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        AnyByteStream(try FileStream(blobPath(blob.digest), expectedSize: blob.size))
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        try FileBlobSource(blobPath(blob.digest), expectedSize: blob.size)
    }

    private func checkMarker() throws(ContentError) {
        let bytes: [UInt8]
        do throws(ContentError) {
            bytes = try contents(of: markerPath, limit: 64 << 10)
        } catch {
            guard error.kind == .notFound else { throw error }
            throw ContentError(.notFound, "\(directory): no OCI layout: no file oci-layout")
        }
        guard case .object(let fields) = try JSONValue(parsing: bytes, document: markerPath),
            case .string(let version)? = fields["imageLayoutVersion"]
        else { throw .corrupt("\(markerPath): imageLayoutVersion: missing") }
        guard version.hasPrefix("1.") else {
            throw .unsupported("\(markerPath): version \(version), only 1.0.0 is supported")
        }
    }

    /// The manifest the name stands for.
    private func findManifest() throws(ContentError) -> Descriptor {
        let bytes = try contents(of: indexPath, limit: JSONValue.documentLimit)
        let index = try Index(parsing: bytes, document: indexPath)
        var found = index.manifests
        if let tag { found = found.filter { $0.annotations[Self.tagKey] == tag } }
        guard let first = found.first else {
            throw ContentError(.notFound, "\(name): no such image; \(Self.tags(of: index))")
        }
        guard found.allSatisfy({ $0.digest == first.digest }) else {
            throw .unsupported(
                "\(name): names \(found.count) different images; \(Self.tags(of: index))"
            )
        }
        if first.mediaType.isManifest { return first }
        guard first.mediaType.isIndex else {
            throw .unsupported("\(name): media type \(first.mediaType) is not supported")
        }
        return try manifest(inIndex: first)
    }

    /// The one manifest for this machine in a nested index.
    private func manifest(inIndex descriptor: Descriptor) throws(ContentError) -> Descriptor {
        let bytes = try document(descriptor, "index")
        let index = try Index(parsing: bytes, mediaType: descriptor.mediaType)
        let images = index.manifests.filter(\.mediaType.isManifest)
        if let only = images.first, images.count == 1, only.platform == nil { return only }
        let fitting = images.filter {
            $0.platform?.os == Platform.current.os
                && $0.platform?.architecture == Platform.current.architecture
        }
        guard let only = fitting.first, fitting.count == 1 else {
            let platforms = images.map { $0.platform?.description ?? "none" }.prefix(20)
            throw .unsupported(
                "\(name): index \(descriptor.digest) holds \(fitting.count) images for"
                    + " \(Platform.current), one is needed;"
                    + " platforms: \(platforms.joined(separator: ", "))"
            )
        }
        return only
    }

    /// A document's bytes, verified.
    private func document(
        _ descriptor: Descriptor,
        _ kind: String
    ) throws(ContentError) -> [UInt8] {
        let object = "\(kind) \(descriptor.digest)"
        guard descriptor.size <= UInt64(JSONValue.documentLimit) else {
            throw ContentError(
                .limitExceeded,
                "\(object): \(descriptor.size) bytes,"
                    + " at most \(JSONValue.documentLimit) are accepted"
            )
        }
        var stream = VerifyingStream(
            try FileStream(blobPath(descriptor.digest), expectedSize: descriptor.size),
            digest: descriptor.digest,
            size: descriptor.size,
            object: object
        )
        return try stream.readAll(limit: JSONValue.documentLimit)
    }

    static var tagKey: String { "org.opencontainers.image.ref.name" }

    private static func tags(of index: Index) -> String {
        let tags = index.manifests.compactMap { $0.annotations[tagKey] }.prefix(20)
        return tags.isEmpty ? "there are no tags" : "tags: \(tags.joined(separator: ", "))"
    }
}
