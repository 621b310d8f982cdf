// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import OCI

extension RegistryClient {
    /// The manifests that name this one as their subject.
    ///
    /// Where a registry has no list of them, they are in an index under a tag made of the digest
    /// (distribution-spec, "Referrers Tag Schema").
    ///
    /// - Parameters:
    ///   - digest: the subject.
    ///   - type: the artifactType of those that are wanted; nil for all.
    /// - Returns: their descriptors. A registry that does not say that it has filtered them
    ///   (`OCI-Filters-Applied`) has not.
    /// - Throws: `ContentError` if the list cannot be had, or is malformed.
    func referrers(of digest: Digest, ofType type: String?) throws(ContentError) -> ReferrerList {
        if let listed = try listedReferrers(of: digest, ofType: type) { return listed }
        return ReferrerList(manifests: try taggedReferrers(of: digest), isFiltered: false)
    }

    /// The same as the registry's list has them.
    ///
    /// - Parameters:
    ///   - digest: the subject.
    ///   - type: the artifactType of those that are wanted; nil for all.
    /// - Returns: their descriptors; nil if the registry has no such list.
    /// - Throws: `ContentError` if the list cannot be had, or is malformed.
    func listedReferrers(
        of digest: Digest,
        ofType type: String?
    ) throws(ContentError) -> ReferrerList? {
        let object = "referrers of \(digest)"
        var result = ReferrerList(manifests: [], isFiltered: type != nil)
        let isListed = try forEachPage(
            of: "referrers/\(digest)",
            object,
            query: type.map { ["artifactType": $0] } ?? [:],
            accepting: [HTTPHeader("Accept", MediaType.index.text)],
            expecting: [400, 404, 405]
        ) { page throws(ContentError) in
            result.manifests += try Index(parsing: page.body, document: object).manifests
            if !page.head.appliesFilter("artifactType") { result.isFiltered = false }
        }
        return isListed ? result : nil
    }

    /// The tag under which referrers are listed where the registry has no list.
    static func referrersTag(_ digest: Digest) -> String { "sha256-\(digest.hex)" }

    /// The same as the tag's index has them; none if there is no such tag.
    ///
    /// - Throws: `ContentError` if the index cannot be had, or is malformed.
    func taggedReferrers(of digest: Digest) throws(ContentError) -> [Descriptor] {
        do throws(ContentError) {
            let document = try manifest(Self.referrersTag(digest), nil)
            guard document.descriptor.mediaType.isIndex else { return [] }
            return try Index(
                parsing: document.bytes,
                mediaType: document.descriptor.mediaType
            ).manifests
        } catch {
            guard error.kind == .notFound else { throw error }
            return []
        }
    }

    /// Lists a manifest under the tag for referrers, where the registry keeps no list itself.
    ///
    /// - Parameters:
    ///   - manifest: names it.
    ///   - document: it.
    ///   - subject: the manifest it refers to.
    ///   - host: who takes the list.
    /// - Throws: `ContentError` if the list cannot be read or stored.
    func addReferrer(
        _ manifest: Descriptor,
        _ document: JSONValue,
        of subject: Digest,
        at host: RegistryHost
    ) throws(ContentError) {
        var index = Index()
        index.manifests = try taggedReferrers(of: subject)
        guard !index.manifests.contains(where: { $0.digest == manifest.digest }) else { return }
        var entry = manifest
        let type = document["artifactType"]?.text ?? document["config"]?["mediaType"]?.text
        if let type { entry.otherFields["artifactType"] = .string(type) }
        if case .object(let annotations)? = document["annotations"] {
            entry.annotations = annotations.compactMapValues(\.text)
        }
        index.manifests.append(entry)
        _ = try putManifest(
            index.json.serialized(),
            .index,
            Self.referrersTag(subject),
            at: host
        )
    }
}

extension HTTPHead {
    /// Whether a list of referrers is filtered by what was asked for; a registry need not.
    fileprivate func appliesFilter(_ name: String) -> Bool {
        all("oci-filters-applied").contains { value in
            value.split(whereSeparator: { $0 == "," || $0 == " " }).contains { $0 == name }
        }
    }
}
