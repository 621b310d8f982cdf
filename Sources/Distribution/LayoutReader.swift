// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// Reads an image from the files of an OCI layout, wherever they are.
struct LayoutReader<Files: LayoutFiles> {
    let files: Files
    /// The image's name, for messages.
    let name: String
    /// The tag wanted; nil for the only image there is.
    let tag: String?
    let selection: ImageSelection

    /// The most indexes that one name may lead to, one in the other.
    private static var indexLimit: Int { 100 }

    func resolve() throws -> ResolvedImage {
        let root = try findRoot()
        var chosen = root
        if root.mediaType.isIndex {
            chosen = try selection.choose(
                among: try leaves(of: root),
                place: "\(name): index \(root.digest)"
            ) { (descriptor) throws(ContentError) in
                let bytes = try document(descriptor, "manifest")
                let manifest = try Manifest(parsing: bytes, mediaType: descriptor.mediaType)
                return manifest.bootstrapLayer != nil
            }
        }
        let image = try resolve(chosen)
        // What index.json says of an image is not asked: it may come from the tool that copied it.
        if !root.mediaType.isIndex || chosen.platform == nil {
            try selection.check(image.config.platform, place: name)
        }
        return image
    }

    func resolve(_ manifest: Descriptor) throws -> ResolvedImage {
        try ResolvedImage(
            descriptor: manifest,
            manifestBytes: try document(manifest, "manifest")
        ) { config in
            try document(config, "image config")
        }
    }

    /// All manifests the name leads to, in their order.
    func manifests() throws(ContentError) -> [Descriptor] {
        let root = try findRoot()
        return root.mediaType.isIndex ? try leaves(of: root) : [root]
    }

    func openBlob(_ blob: Descriptor) throws(ContentError) -> AnyByteStream {
        try files.open(Self.blobName(blob), expectedSize: blob.size)
    }

    func blobSource(_ blob: Descriptor) throws(ContentError) -> any BlobSource {
        try files.source(Self.blobName(blob), expectedSize: blob.size)
    }

    private static func blobName(_ blob: Descriptor) -> String { "blobs/sha256/\(blob.digest.hex)" }

    private func checkMarker() throws(ContentError) {
        let bytes: [UInt8]
        do throws(ContentError) {
            bytes = try files.contents(of: "oci-layout", limit: 64 << 10)
        } catch {
            guard error.kind == .notFound else { throw error }
            throw ContentError(.notFound, "\(files.place): no OCI layout: no file oci-layout")
        }
        let marker = "\(files.place)/oci-layout"
        guard case .object(let fields) = try JSONValue(parsing: bytes, document: marker),
            case .string(let version)? = fields["imageLayoutVersion"]
        else { throw .corrupt("\(marker): imageLayoutVersion: missing") }
        guard version.hasPrefix("1.") else {
            throw .unsupported("\(marker): version \(version), only 1.0.0 is supported")
        }
    }

    /// The manifest or index the name stands for.
    private func findRoot() throws(ContentError) -> Descriptor {
        try checkMarker()
        let bytes = try files.contents(of: "index.json", limit: JSONValue.documentLimit)
        let index = try Index(parsing: bytes, document: "\(files.place)/index.json")
        var found = index.manifests
        if let tag { found = found.filter { $0.annotations[OCILayout.tagKey] == tag } }
        guard let first = found.first else {
            throw ContentError(.notFound, "\(name): no such image; \(Self.tags(of: index))")
        }
        guard found.allSatisfy({ $0.digest == first.digest }) else {
            throw .unsupported(
                "\(name): names \(found.count) different images; \(Self.tags(of: index))"
            )
        }
        guard first.mediaType.isManifest || first.mediaType.isIndex else {
            throw .unsupported("\(name): media type \(first.mediaType) is not supported")
        }
        return first
    }

    /// The manifests of an index, those of indexes in it in their place.
    private func leaves(of root: Descriptor) throws(ContentError) -> [Descriptor] {
        var leaves: [Descriptor] = []
        var pending = [root]
        var count = 0
        while let next = pending.popLast() {
            guard next.mediaType.isIndex else {
                if next.mediaType.isManifest { leaves.append(next) }
                continue
            }
            count += 1
            guard count <= Self.indexLimit else {
                throw ContentError(.limitExceeded, "\(name): more than \(Self.indexLimit) indexes")
            }
            let index = try Index(
                parsing: try document(next, "index"),
                mediaType: next.mediaType
            )
            pending += index.manifests.reversed()
        }
        return leaves
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
            try openBlob(descriptor),
            digest: descriptor.digest,
            size: descriptor.size,
            object: object
        )
        return try stream.readAll(limit: JSONValue.documentLimit)
    }

    private static func tags(of index: Index) -> String {
        let tags = index.manifests.compactMap { $0.annotations[OCILayout.tagKey] }.prefix(20)
        return tags.isEmpty ? "there are no tags" : "tags: \(tags.joined(separator: ", "))"
    }
}
