// SPDX-License-Identifier: Apache-2.0

package import Content
package import OCI

/// An image in a tar archive of an OCI layout, to read; `OCIArchiveWriter` writes one.
package struct OCIArchive: ImageSource {
    private let reader: LayoutReader<TarFiles>

    /// The image with the tag in the archive, whose headers are read.
    ///
    /// - Parameters:
    ///   - file: the archive's path.
    ///   - tag: the tag wanted; nil for the only image there is.
    ///   - selection: which image is meant if the tag names an index.
    /// - Throws: `ContentError` if the archive cannot be read, or is no uncompressed tar.
    package init(
        file: String,
        tag: String?,
        selection: ImageSelection = ImageSelection()
    ) throws(ContentError) {
        reader = LayoutReader(
            files: try TarFiles(file),
            name: ImageName.archive(file: file, tag: tag).description,
            tag: tag,
            selection: selection
        )
    }

    package var name: String { reader.name }

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
}
