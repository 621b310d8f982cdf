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

    /// Whether indexes over ordinary images are looked for.
    var findsIndexes: Bool { get }

    /// The index over an ordinary image's layers.
    ///
    /// - Parameters:
    ///   - image: the ordinary image, as a client names it.
    ///   - manifest: its manifest; nil if that is not known.
    /// - Returns: the index, in the same repository as far as `image(_:)` is concerned; nil if there
    ///   is none.
    /// - Throws: an error that says why it cannot be looked for.
    func index(over image: Reference, manifest: Digest?) throws -> FoundIndex?

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

    /// Serves a mount on that an earlier process made.
    ///
    /// - Parameters:
    ///   - image: what it is of; read from what is stored here.
    ///   - directory: where it was made; it may be out of sight.
    ///   - continuation: what the earlier mount's was.
    /// - Returns: the mount, of the same continuation.
    /// - Throws: an error that says why it cannot be served.
    func takeOver(
        _ image: any ImageSource,
        at directory: String,
        _ continuation: MountContinuation
    ) throws -> any ImageMount

    /// Ends what is left of earlier processes' mounts: those that have not been taken over by now
    /// never will be.
    func endTakeover()

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

    /// What a later process takes the mount over with; nil if it ends with this one.
    var continuation: MountContinuation? { get }

    /// Takes the mount out of sight, and returns; whoever uses it is served until the last has
    /// ended.
    ///
    /// - Parameter ended: called then, before its descriptor is let go.
    func unmount(_ ended: @escaping @Sendable () -> Void)
}

/// What a mount is continued with by the next process.
package struct MountContinuation: Sendable, Equatable {
    /// The name of its descriptor where descriptors outlive the process; no other mount's.
    package var name: String
    /// The device of its files, as stat(2) gives it.
    package var device: UInt64
    /// What the kernel sent first.
    package var initRequest: [UInt8]

    /// A continuation.
    package init(name: String, device: UInt64, initRequest: [UInt8]) {
        self.name = name
        self.device = device
        self.initRequest = initRequest
    }
}

/// Finds the image of a layer where the client does not name it: containerd's own content store
/// has its manifest and configuration.
package protocol ImageLocator: Sendable {
    /// The converted images that have a layer.
    ///
    /// - Parameter chainID: the layer's, with all below it.
    /// - Returns: the images, named by their manifests' digests, one of several repositories for each
    ///   of them.
    /// - Throws: an error that says why they cannot be looked for.
    func images(withChain chainID: Digest) throws -> [Reference]
}
