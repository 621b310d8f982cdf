// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// Reads an image from the files of an OCI layout, wherever they are.
struct LayoutReader<Files: LayoutFiles>: ImageDocuments {
    let files: Files
    /// The image's name, for messages.
    let name: String
    /// The tag wanted; nil for the only image there is.
    let tag: String?
    let selection: ImageSelection

    /// The manifests of index.json that name this one as their subject.
    func referrers(of manifest: Descriptor) throws(ContentError) -> [Descriptor] {
        let bytes = try files.contents(of: "index.json", limit: JSONValue.documentLimit)
        let index = try Index(parsing: bytes, document: "\(files.place)/index.json")
        var found: [Descriptor] = []
        for entry in index.manifests where entry.mediaType.isManifest || entry.mediaType.isIndex {
            let document = try JSONValue(
                parsing: try document(entry, "manifest"),
                document: "manifest \(entry.digest)"
            )
            guard document["subject"]?["digest"]?.text == manifest.digest.oci else { continue }
            found.append(entry)
        }
        return found
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
    func findRoot() throws(ContentError) -> Descriptor {
        try checkMarker()
        let bytes = try files.contents(of: "index.json", limit: JSONValue.documentLimit)
        let index = try Index(parsing: bytes, document: "\(files.place)/index.json")
        var found = index.manifests
        if let tag {
            found = found.filter { $0.annotations[OCILayout.tagKey] == tag }
        } else if found.contains(where: { $0.annotations[OCILayout.tagKey] != nil }) {
            // What is listed without a tag refers to something that has one.
            found = found.filter { $0.annotations[OCILayout.tagKey] != nil }
        } else if found.count > 1 {
            // The same where the image has none, either.
            found = found.filter { $0.otherFields["artifactType"] == nil }
        }
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

    private static func tags(of index: Index) -> String {
        let tags = index.manifests.compactMap { $0.annotations[OCILayout.tagKey] }.prefix(20)
        return tags.isEmpty ? "there are no tags" : "tags: \(tags.joined(separator: ", "))"
    }
}
