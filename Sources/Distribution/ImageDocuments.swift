// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// Finds its way from a name to images: through indexes, whatever they are read from.
protocol ImageDocuments {
    /// The image's name, for messages.
    var name: String { get }
    /// Which image is meant if the name leads to an index.
    var selection: ImageSelection { get }

    /// The manifest or index the name stands for.
    func findRoot() throws(ContentError) -> Descriptor

    /// A blob, or a manifest or index, as it is stored, not verified.
    func openBlob(_ blob: Descriptor) throws(ContentError) -> AnyByteStream
}

/// The most indexes that one name may lead to, one in the other.
private let indexLimit = 100

extension ImageDocuments {
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

    /// The manifest or index the name stands for.
    func root() throws(ContentError) -> Descriptor { try findRoot() }

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
            guard count <= indexLimit else {
                throw ContentError(.limitExceeded, "\(name): more than \(indexLimit) indexes")
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
    func document(
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
}
