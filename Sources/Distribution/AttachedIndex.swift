// SPDX-License-Identifier: Apache-2.0

package import Content
package import OCI
import Synchronization

/// An image by the index over its layers, where one is attached to it; else the image as it is.
///
/// An index is a converted image whose data is in the layers of another one, its subject. It is
/// looked for in directories first, which are layouts of indexes, then where the image is: among
/// its referrers. One counts only if it names the very manifest as its subject, and no layer as its
/// data that is not that manifest's.
package final class AttachedIndex: ImageSource {
    private struct Found {
        var image: ResolvedImage
        // Where it is, if not where the subject is.
        var layout: OCILayout?
    }

    private let base: any ImageSource
    private let directories: [String]
    private let found = Mutex<Found?>(nil)

    /// The image; nothing is asked yet.
    ///
    /// - Parameters:
    ///   - base: the image, converted or not.
    ///   - directories: layouts with indexes; those that do not exist are passed over.
    package init(_ base: any ImageSource, directories: [String] = []) {
        self.base = base
        self.directories = directories
    }

    package var name: String { base.name }

    package func resolve() throws -> ResolvedImage {
        if let known = found.withLock({ $0 }) { return known.image }
        let result = try find(of: try base.resolve())
        found.withLock { $0 = result }
        return result.image
    }

    private func find(of subject: ResolvedImage) throws -> Found {
        guard subject.manifest.bootstrapLayer == nil else { return Found(image: subject) }
        for directory in directories {
            let layout = OCILayout(directory: directory, tag: nil)
            do {
                if let image = try Self.index(over: subject, in: layout) {
                    return Found(image: image, layout: layout)
                }
            } catch let error as ContentError where error.kind == .notFound {
                continue
            }
        }
        if let image = try Self.index(over: subject, in: base) { return Found(image: image) }
        return Found(image: subject)
    }

    /// The index over an image that a source has; the last one listed, if there are several.
    ///
    /// Signatures and the like may be many: a registry is asked for images of our type first, and
    /// for all that refers to the image only if it has sorted the others out. Indexes of older
    /// converters have no type.
    private static func index(
        over subject: ResolvedImage,
        in source: any ImageSource
    ) throws -> ResolvedImage? {
        let list = try source.referrers(
            of: subject.descriptor,
            ofType: NydusConvention.artifactType
        )
        let found = try source.lastIndex(among: list.manifests) { $0.isIndex(over: subject) }
        guard found == nil, list.isFiltered else { return found }
        let all = try source.referrers(of: subject.descriptor)
        return try source.lastIndex(among: all) { $0.isIndex(over: subject) }
    }

    package func root() throws -> Descriptor { try base.root() }

    package func referrers(of manifest: Descriptor) throws -> [Descriptor] {
        try base.referrers(of: manifest)
    }

    package func referrers(of manifest: Descriptor, ofType type: String) throws -> ReferrerList {
        try base.referrers(of: manifest, ofType: type)
    }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        try source(of: blob).openBlob(blob)
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        try source(of: blob).blobSource(blob)
    }

    private func source(of blob: Descriptor) -> any ImageSource {
        guard let layout = found.withLock({ $0?.layout }), layout.hasBlob(blob) else { return base }
        return layout
    }
}

extension ImageSource {
    /// The index among what refers to an image; the last one listed, if there are several.
    ///
    /// - Parameters:
    ///   - referrers: as a list has them; of those that may be indexes the last 16 are looked into.
    ///   - isWanted: whether it is the image's.
    /// - Returns: the index; nil if none of them is.
    /// - Throws: an error if one cannot be read, but for what is gone, or is something else.
    func lastIndex(
        among referrers: [Descriptor],
        where isWanted: (ResolvedImage) -> Bool
    ) throws -> ResolvedImage? {
        for referrer in referrers.filter(\.mayBeIndex).suffix(16).reversed() {
            do {
                let image = try resolve(referrer)
                if isWanted(image) { return image }
            } catch let error as ContentError
                where [.unsupported, .corrupt, .notFound].contains(error.kind)
            {
                continue
            }
        }
        return nil
    }
}

extension Descriptor {
    /// Whether what is said of a referrer does not rule out that it is an image.
    fileprivate var mayBeIndex: Bool {
        guard mediaType.isManifest else { return false }
        guard case .string(let type)? = otherFields["artifactType"] else { return true }
        let types = [
            "", NydusConvention.artifactType, NydusConvention.configMediaType.text,
            MediaType.config.text, MediaType.dockerConfig.text,
        ]
        return types.contains(type)
    }
}

extension ResolvedImage {
    /// Whether this is a converted image whose data is in the layers of the other one.
    func isIndex(over subject: ResolvedImage) -> Bool {
        guard manifest.bootstrapLayer != nil,
            manifest.subject?.digest == subject.descriptor.digest
        else { return false }
        let layers = Set(subject.manifest.layers.map(\.digest))
        return manifest.layers.allSatisfy { layer in
            layer.originalLayer.map { layers.contains($0) } ?? true
        }
    }
}
