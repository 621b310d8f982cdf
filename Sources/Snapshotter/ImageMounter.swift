// SPDX-License-Identifier: Apache-2.0

package import Content
package import Distribution
package import OCI

/// Mounts converted images, and knows where they are: what the snapshotter is given by those who
/// know registries, caches and FUSE.
///
/// Called from several threads at once; may block.
package protocol ImageMounter: Sendable {
    /// The converted image that a reference names.
    ///
    /// - Parameter reference: where it is.
    /// - Returns: the image; nothing is asked for yet.
    func image(_ reference: Reference) -> any ImageSource

    /// The first layers of a converted image, as an image of its own.
    ///
    /// - Parameters:
    ///   - image: the whole.
    ///   - count: how many layers, from the lowest.
    /// - Returns: the image of these.
    /// - Throws: an error that says why they cannot be merged.
    func prefix(of image: any ImageSource, layers count: Int) throws -> any ImageSource

    /// Mounts a converted image.
    ///
    /// - Parameters:
    ///   - image: the image; its data is asked for when it is read.
    ///   - directory: an existing directory; a mount that a dead process left there is cleared.
    /// - Returns: the mount, which answers.
    /// - Throws: an error that says what is wrong with the image, or why it cannot be mounted.
    func mount(_ image: any ImageSource, at directory: String) throws -> any ImageMount

    /// Frees what is cached of blobs that no image has any more, and are not in use.
    ///
    /// - Parameter blobs: the layers of all images that are left.
    /// - Throws: an error if something could not be freed.
    func freeCache(keeping blobs: Set<Digest>) throws
}

/// An image that is mounted.
package protocol ImageMount: Sendable {
    /// The directory.
    var path: String { get }

    /// Whether whoever opens the directory finds the image there.
    var isAlive: Bool { get }

    /// Takes the mount out of sight, and returns; whoever uses it is served until the last has
    /// ended.
    func unmount()
}

/// Finds the image of a layer where the client does not name it: containerd's own content store
/// has its manifest and configuration.
package protocol ImageLocator: Sendable {
    /// An image that has a layer.
    ///
    /// - Parameter chainID: the layer's, with all below it.
    /// - Returns: the image, named by its manifest's digest; nil if none is found.
    /// - Throws: an error that says why it cannot be looked for.
    func image(withChain chainID: Digest) throws -> Reference?
}
