// SPDX-License-Identifier: Apache-2.0

package import Content
package import OCI

/// A place where an index over the layers of an ordinary image may be found.
package enum IndexPlace: String, CaseIterable, Sendable {
    /// The index that the image's name leads to, which lists the image in converted form, too
    /// (`convert --keep-original`): that stands in for it, layer by layer.
    case twin
    /// The registry's list of what refers to the image.
    case referrers
    /// The tag that stands in for that list.
    case tag
    /// The index that the image's name leads to, which lists both (`convert --merge-index`).
    case annotation
    /// A directory of this machine.
    case local
}

/// An index over the layers of an ordinary image, or the converted image that stands in for them,
/// and that image; all by digest.
package struct FoundIndex: Sendable {
    /// The ordinary image, which is the index's subject.
    package let image: ResolvedImage
    /// The index.
    package let index: ResolvedImage
    /// Where it was found.
    package let place: IndexPlace

    /// An index that was found.
    package init(image: ResolvedImage, index: ResolvedImage, place: IndexPlace) {
        self.image = image
        self.index = index
        self.place = place
    }
}

/// Looks for indexes over ordinary images in registries.
///
/// An index counts only if its manifest names the image's as its subject and has one blob for each
/// of the image's layers, in their order: whoever wrote it may write to the image's repository or to
/// this machine's directory, and no digest of the image's says more of it.
package struct IndexSearch: Sendable {
    private let places: [IndexPlace]
    private let directory: String
    private let access: RegistryAccess

    /// The most converted images of one index that are looked into.
    private static let candidateLimit = 16

    /// A search; nothing is asked yet.
    ///
    /// - Parameters:
    ///   - places: where to look, in this order.
    ///   - directory: the layout that `local` stands for; it need not exist.
    ///   - access: how registries are reached.
    package init(_ places: [IndexPlace], directory: String, _ access: RegistryAccess) {
        self.places = places
        self.directory = directory
        self.access = access
    }

    /// Whether there is anywhere to look.
    package var isOff: Bool { places.isEmpty }

    /// An image by its digest: from the directory if that has it, else from its registry; what the
    /// directory lacks of it comes from there.
    ///
    /// - Parameters:
    ///   - image: the registry's.
    ///   - digest: its manifest's.
    /// - Returns: the image.
    package func withDirectory(
        _ image: RegistrySource,
        digest: Digest
    ) -> any ImageSource {
        guard places.contains(.local) else { return image }
        return DirectoryImage(
            layout: OCILayout(directory: directory, tag: nil),
            digest: digest,
            remote: image
        )
    }

    /// The index over an image; of several, that of the first place, and there the last one listed.
    ///
    /// - Parameters:
    ///   - reference: how the image was named.
    ///   - manifest: the image's manifest, if that is known; else the name's, for this machine.
    /// - Returns: the index; nil if no place has one.
    /// - Throws: the first place's error that could not be asked, if no other has an index.
    package func find(over reference: Reference, manifest: Digest?) throws -> FoundIndex? {
        let named = source(reference)
        let digest = try manifest ?? named.resolve().descriptor.digest
        let image = source(
            try Reference("\(reference.registry)/\(reference.repository)@\(digest)")
        )
        var failure: (any Error)?
        var hasList = false
        for place in places where !(place == .tag && hasList) {
            do {
                let found: FoundIndex?
                switch place {
                case .twin:
                    guard reference.tag != nil || reference.digest != digest else { continue }
                    found = try twin(of: digest, in: named, over: image)
                case .referrers:
                    (found, hasList) = try listed(over: image, digest)
                case .tag:
                    let tagged = try image.reader.client.taggedReferrers(of: digest)
                    found = try first(of: tagged, in: image, over: image, place)
                case .annotation:
                    guard reference.tag != nil || reference.digest != digest else { continue }
                    let marked = try named.manifests().filter {
                        $0.isMarked(asConversionOf: digest)
                    }
                    found = try first(of: marked, in: image, over: image, place)
                case .local:
                    let layout = OCILayout(directory: directory, tag: nil)
                    let referrers = try layout.referrers(ofManifest: digest)
                    found = try first(of: referrers, in: layout, over: image, place)
                }
                if let found { return found }
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }

    /// The index in the registry's list, and whether there is such a list.
    private func listed(
        over image: RegistrySource,
        _ digest: Digest
    ) throws -> (found: FoundIndex?, hasList: Bool) {
        let client = image.reader.client
        // Signatures and the like may be many.
        let type = NydusConvention.artifactType
        guard let list = try client.listedReferrers(of: digest, ofType: type) else {
            return (nil, false)
        }
        let found = try first(of: list.manifests, in: image, over: image, .referrers)
        guard found == nil, list.isFiltered else { return (found, true) }
        // Indexes of older converters have no type.
        let all = try client.listedReferrers(of: digest, ofType: nil)?.manifests ?? []
        return (try first(of: all, in: image, over: image, .referrers), true)
    }

    /// The converted image that an index lists beside an ordinary one as made of it.
    private func twin(
        of digest: Digest,
        in named: RegistrySource,
        over image: RegistrySource
    ) throws -> FoundIndex? {
        let manifests = try named.manifests()
        // Whoever wrote the index says that they are one image: it must list both.
        guard manifests.contains(where: { $0.digest == digest }) else { return nil }
        let candidates = manifests.filter { $0.mediaType.isManifest && $0.isMarkedAsConverted }
        guard !candidates.isEmpty else { return nil }
        let subject = try image.resolve()
        for candidate in candidates.prefix(Self.candidateLimit) {
            let twin = try named.resolve(candidate)
            if twin.isConverted(fromEachLayerOf: subject) {
                return FoundIndex(image: subject, index: twin, place: .twin)
            }
        }
        return nil
    }

    private func source(_ reference: Reference) -> RegistrySource {
        RegistrySource(reference, selection: ImageSelection(form: .original), access)
    }

    private func first(
        of referrers: [Descriptor],
        in source: any ImageSource,
        over image: RegistrySource,
        _ place: IndexPlace
    ) throws -> FoundIndex? {
        // Nothing is asked of the registry for nothing.
        guard !referrers.isEmpty else { return nil }
        let subject = try image.resolve()
        return try source.lastIndex(among: referrers) { $0.isIndex(overEachLayerOf: subject) }
            .map { FoundIndex(image: subject, index: $0, place: place) }
    }
}

extension ResolvedImage {
    /// Whether this is an index over the other image that has one blob for each of its layers.
    fileprivate func isIndex(overEachLayerOf subject: ResolvedImage) -> Bool {
        let blobs = manifest.dataBlobs
        guard isIndex(over: subject), blobs.count == subject.manifest.layers.count,
            blobs.count + 1 == manifest.layers.count
        else { return false }
        return zip(blobs, subject.manifest.layers).allSatisfy { blob, layer in
            blob.originalLayer == nil || blob.originalLayer == layer.digest
        }
    }
}

extension ResolvedImage {
    /// Whether this is the other image in converted form, with one blob for each of its layers.
    ///
    /// Converters that name no source are believed if the platform is the same.
    fileprivate func isConverted(fromEachLayerOf source: ResolvedImage) -> Bool {
        let blobs = manifest.dataBlobs
        guard manifest.bootstrapLayer != nil, manifest.subject == nil,
            blobs.count == source.manifest.layers.count,
            blobs.allSatisfy({ $0.originalLayer == nil })
        else { return false }
        guard let named = manifest.annotations[NydusAnnotation.sourceDigest] else {
            return config.platform == source.config.platform
        }
        return named == source.descriptor.digest.oci
    }
}

extension Descriptor {
    /// Whether an index says of it that it is made of the manifest, or may be.
    fileprivate func isMarked(asConversionOf digest: Digest) -> Bool {
        isMarkedAsConverted || annotations[NydusAnnotation.sourceDigest] == digest.oci
    }
}

extension OCILayout {
    /// The descriptor of a manifest that the layout lists.
    fileprivate func listed(_ digest: Digest) throws -> Descriptor? {
        let bytes = try DirectoryFiles(place: directory)
            .contents(of: "index.json", limit: JSONValue.documentLimit)
        return try Index(parsing: bytes, document: indexPath).manifests
            .first { $0.digest == digest }
    }

    /// What the layout has that refers to a manifest; nothing if there is no layout.
    fileprivate func referrers(ofManifest digest: Digest) throws -> [Descriptor] {
        do {
            return try referrers(of: Descriptor(mediaType: .manifest, digest: digest, size: 0))
        } catch let error as ContentError where error.kind == .notFound {
            return []
        }
    }
}

/// An image of which a directory may have the documents and some blobs, and a registry the others.
private struct DirectoryImage: ImageSource {
    let layout: OCILayout
    let digest: Digest
    let remote: RegistrySource

    var name: String { remote.name }

    func resolve() throws -> ResolvedImage {
        guard let listed = try? layout.listed(digest) else { return try remote.resolve() }
        return try layout.resolve(listed)
    }

    func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        layout.hasBlob(blob) ? try layout.openBlob(blob) : try remote.openBlob(blob)
    }

    func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        layout.hasBlob(blob) ? try layout.blobSource(blob) : try remote.blobSource(blob)
    }
}
