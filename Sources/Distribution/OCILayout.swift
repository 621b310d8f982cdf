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
    private let selection: ImageSelection

    /// The image with the tag in the directory; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - directory: the layout.
    ///   - tag: the tag wanted; nil for the only image there is.
    ///   - selection: which image is meant if the tag names an index.
    package init(directory: String, tag: String?, selection: ImageSelection = ImageSelection()) {
        self.directory = directory
        self.tag = tag
        self.selection = selection
    }

    /// The image's name, for messages.
    package var name: String { ImageName.layout(directory: directory, tag: tag).description }

    var markerPath: String { "\(directory)/oci-layout" }
    var indexPath: String { "\(directory)/index.json" }
    var blobDirectory: String { "\(directory)/blobs/sha256" }

    func blobPath(_ digest: Digest) -> String { "\(blobDirectory)/\(digest.hex)" }
}

extension OCILayout: ImageSource {
    var reader: LayoutReader<DirectoryFiles> {
        LayoutReader(
            files: DirectoryFiles(place: directory),
            name: name,
            tag: tag,
            selection: selection
        )
    }

    package func resolve() throws -> ResolvedImage { try reader.resolve() }

    package func resolve(_ manifest: Descriptor) throws -> ResolvedImage {
        try reader.resolve(manifest)
    }

    package func manifests() throws -> [Descriptor] { try reader.manifests() }

    package func root() throws -> Descriptor { try reader.root() }

    package func referrers(of manifest: Descriptor) throws -> [Descriptor] {
        try reader.referrers(of: manifest)
    }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream { try reader.openBlob(blob) }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        try reader.blobSource(blob)
    }

    static var tagKey: String { "org.opencontainers.image.ref.name" }
}
