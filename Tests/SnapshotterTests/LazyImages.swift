// SPDX-License-Identifier: Apache-2.0

import Compression
import Containerd
import Content
import Distribution
import Glibc
import Linux
import Log
import OCI
import Synchronization
import Testing

@testable import Snapshotter

/// A converted image in memory: two data layers and the bootstrap's, which nobody looks into here.
struct MemoryImage: ImageSource {
    let name = "memory"
    let layers: [[UInt8]]
    let diffIDs: [Digest]
    let manifest: Manifest
    let config: [UInt8]

    init(_ words: [String] = ["one", "two", "bootstrap"]) {
        layers = words.map { Array($0.utf8) }
        diffIDs = layers.map { StreamingDigest.digest(of: $0) }
        let texts = diffIDs.map { "\"\($0.oci)\"" }.joined(separator: ",")
        config = Array(#"{"rootfs":{"type":"layers","diff_ids":[\#(texts)]}}"#.utf8)
        var descriptors = layers.map {
            Descriptor(
                mediaType: .nydusBlob,
                digest: StreamingDigest.digest(of: $0),
                size: UInt64($0.count),
                annotations: [NydusAnnotation.blob: "true"]
            )
        }
        descriptors[descriptors.count - 1].mediaType = .layerGzip
        descriptors[descriptors.count - 1].annotations = [NydusAnnotation.bootstrap: "true"]
        manifest = Manifest(
            config: Descriptor(
                mediaType: .config,
                digest: StreamingDigest.digest(of: config),
                size: UInt64(config.count)
            ),
            layers: descriptors
        )
    }

    var digest: Digest { StreamingDigest.digest(of: manifest.serialized()) }
    var chain: [Digest] { ImageChain.chainIDs(of: diffIDs) }

    /// The labels that the CRI sends with a layer.
    func labels(_ index: Int) -> [String: String] {
        let isLast = index == layers.count - 1
        return [
            "containerd.io/snapshot.ref": chain[index].oci,
            "containerd.io/snapshot/cri.image-ref": "registry.test/app:lazy",
            "containerd.io/snapshot/cri.manifest-digest": digest.oci,
            "containerd.io/snapshot/cri.layer-digest": manifest.layers[index].digest.oci,
            (isLast ? NydusAnnotation.bootstrap : NydusAnnotation.blob): "true",
        ]
    }

    func resolve() throws -> ResolvedImage {
        let bytes = manifest.serialized()
        let descriptor = Descriptor(
            mediaType: .manifest,
            digest: digest,
            size: UInt64(bytes.count)
        )
        return try ResolvedImage(descriptor: descriptor, manifestBytes: bytes) { _ in config }
    }

    func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
        for layer in layers where StreamingDigest.digest(of: layer) == blob.digest {
            return AnyByteStream(ArrayStream(layer))
        }
        throw ContentError(.notFound, "no blob \(blob.digest)")
    }

    func blobSource(_ blob: Descriptor) throws -> any BlobSource {
        throw ContentError.unsupported("data is not read")
    }
}

/// Mounts nothing, and keeps account of it.
final class CountingMounter: ImageMounter {
    struct Counts: Sendable {
        /// How often an image's documents were asked for at their registry.
        var resolves = 0
        var mounts: [String] = []
        var unmounts: [String] = []
        var kept: [Set<Digest>] = []
        var failure: ContentError?
        /// Whether mounts outlive the process.
        var outlives = false
        /// What can be taken over; it is alive, or else out of sight.
        var left: [String: Bool] = [:]
        var takeovers: [String] = []
        /// The failures of the next takeovers.
        var takeoverFailures: [SystemError] = []
        /// How often what nobody took over was given up.
        var ends = 0
        /// What is asked for indexes gets, and how often it was.
        var index: Result<FoundIndex?, ContentError>?
        var questions = 0
        /// To be called when the last user of a mount has ended.
        var ended: [@Sendable () -> Void] = []
    }

    let image: MemoryImage
    let counts = Mutex(Counts())

    init(_ image: MemoryImage = MemoryImage()) { self.image = image }

    var now: Counts { counts.withLock { $0 } }

    func fail(_ error: ContentError?) { counts.withLock { $0.failure = error } }

    func image(_ reference: Reference) -> any ImageSource { Remote(mounter: self) }

    var findsIndexes: Bool { now.index != nil }

    func index(over image: Reference, manifest: Digest?) throws -> FoundIndex? {
        try counts.withLock { counts in
            counts.questions += 1
            return try counts.index?.get()
        }
    }

    func prefix(of image: any ImageSource, layers count: Int) throws -> any ImageSource {
        MemoryImage(["one", "bootstrap of one"])
    }

    func mount(_ image: any ImageSource, at directory: String) throws -> any ImageMount {
        // From what is stored here, whatever the registry says.
        _ = try ConvertedImage(image)
        let name = counts.withLock { counts in
            counts.mounts.append(directory)
            return counts.outlives ? "mount-\(counts.mounts.count)" : nil
        }
        let kept = name.map { MountContinuation(name: $0, device: 7, initRequest: [1, 0xab]) }
        return Mounted(path: directory, continuation: kept, mounter: self)
    }

    func takeOver(
        _ image: any ImageSource,
        at directory: String,
        _ continuation: MountContinuation
    ) throws -> any ImageMount {
        _ = try ConvertedImage(image)
        let failure = counts.withLock { counts in
            counts.takeoverFailures.isEmpty ? nil : counts.takeoverFailures.removeFirst()
        }
        if let failure { throw failure }
        guard let isAlive = now.left[continuation.name] else {
            throw ContentError.unsupported("no descriptor")
        }
        #expect(continuation.initRequest == [1, 0xab])
        counts.withLock { $0.takeovers.append(directory) }
        return Mounted(
            path: directory,
            continuation: continuation,
            mounter: self,
            isAlive: isAlive
        )
    }

    func endTakeover() { counts.withLock { $0.ends += 1 } }

    func freeCache(keeping blobs: Set<Digest>) throws {
        counts.withLock { $0.kept.append(blobs) }
    }

    private struct Mounted: ImageMount {
        let path: String
        let continuation: MountContinuation?
        let mounter: CountingMounter
        var isAlive = true

        func unmount(_ ended: @escaping @Sendable () -> Void) {
            mounter.counts.withLock {
                $0.unmounts.append(path)
                $0.ended.append(ended)
            }
        }
    }

    private struct Remote: ImageSource {
        let mounter: CountingMounter
        var name: String { "docker://registry.test/app" }

        func resolve() throws -> ResolvedImage {
            if let failure = mounter.now.failure { throw failure }
            mounter.counts.withLock { $0.resolves += 1 }
            return try mounter.image.resolve()
        }

        func openBlob(_ blob: Descriptor) throws -> AnyByteStream {
            try mounter.image.openBlob(blob)
        }

        func blobSource(_ blob: Descriptor) throws -> any BlobSource {
            try mounter.image.blobSource(blob)
        }
    }
}

extension Snapshotter {
    /// A snapshotter with images, which logs nothing.
    convenience init(_ root: String, _ mounter: CountingMounter) throws {
        let log = try FileSystem.openForAppending("/dev/null")
        let logger = Logger(level: .error, owning: log.release())
        try self.init(root: root, mounter: mounter, logger: logger)
    }

    /// Prepares a layer of the image as containerd does.
    func provide(
        _ image: MemoryImage,
        _ index: Int,
        parent: String? = nil,
        changing labels: [String: String] = [:]
    ) throws(RPCStatus) {
        let below = index == 0 ? "" : image.chain[index - 1].oci
        try prepare(
            "default/\(index)/extract",
            parent ?? below,
            image.labels(index).merging(labels) { $1 }
        )
    }

    /// Prepares all layers; each must be answered to exist.
    func provideAll(_ image: MemoryImage) -> [RPCStatus.Code?] {
        image.layers.indices.map { index in
            code { () throws(RPCStatus) in try provide(image, index) }
        }
    }
}
