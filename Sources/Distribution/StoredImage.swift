// SPDX-License-Identifier: Apache-2.0

package import Content
import Linux
package import OCI

/// A converted image whose documents and bootstrap layer are kept here, and whose data is elsewhere.
///
/// Here it is an OCI layout without the data blobs. What is in it was verified when it was stored,
/// and is again when it is read: mounting it sends no request.
package struct StoredImage: ImageSource {
    private let layout: OCILayout
    private let remote: any ImageSource

    /// The image that `store` has put into a directory.
    ///
    /// - Parameters:
    ///   - directory: the layout.
    ///   - remote: has the data blobs; asked for nothing before one is read.
    package init(directory: String, of remote: any ImageSource) {
        layout = OCILayout(directory: directory, tag: nil)
        self.remote = remote
    }

    /// Stores what is needed to mount an image: manifest, configuration and bootstrap layer, of an
    /// index over another image the blobs that describe its layers, all verified, and safe on
    /// storage when this returns.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - directory: made if it is missing; after a failure part of the image may be there.
    ///   - keepsBlobs: whether to store all blobs that the image has itself.
    /// - Returns: the image's documents.
    /// - Throws: `ContentError` (`unsupported`) if it is not converted; an error that says what is
    ///   missing or wrong, or could not be written.
    @discardableResult
    package static func store(
        _ source: any ImageSource,
        in directory: String,
        keepsBlobs: Bool = false
    ) throws -> ResolvedImage {
        let converted = try ConvertedImage(source)
        let image = converted.image
        let layout = OCILayout(directory: directory, tag: nil)
        _ = try layout.putBlob(image.manifestBytes, mediaType: image.descriptor.mediaType)
        _ = try layout.putBlob(image.configBytes, mediaType: image.manifest.config.mediaType)
        try layout.copyBlob(converted.bootstrapLayer, from: source)
        for blob in image.manifest.dataBlobs
        where (keepsBlobs || blob.originalLayer != nil) && !layout.hasBlob(blob) {
            try layout.copyBlob(blob, from: source)
        }
        var index = Index()
        index.manifests = [image.descriptor]
        let text = index.json.serialized()
        // Last: what has no index.json is no image.
        try FileSystem.replace(layout.indexPath, with: text.rawSpan)
        try FileSystem.synchronizeDirectory(directory)
        return image
    }

    package var name: String { remote.name }

    package func resolve() throws -> ResolvedImage { try layout.resolve() }

    package func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        layout.hasBlob(blob) ? try layout.openBlob(blob) : try remote.openBlob(blob)
    }

    package func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        layout.hasBlob(blob) ? try layout.blobSource(blob) : try remote.blobSource(blob)
    }
}
