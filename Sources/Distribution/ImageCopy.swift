// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
package import OCI

/// What a copy did.
package struct ImageCopyReport: Sendable {
    /// Names what was copied: a manifest or an index.
    package var root: Descriptor
    /// Manifests and indexes, referrers among them.
    package var manifestCount = 0
    /// Blobs that they name.
    package var blobCount = 0
    /// Blobs that were sent: the others were there.
    package var sentCount = 0
    /// The bytes of these.
    package var sentBytes: UInt64 = 0
}

/// Copies an image as it is, with all its platforms and all that refers to it.
///
/// What is there already is not sent again. A manifest is stored after all it names, and tagged
/// last: an interrupted copy leaves blobs, which the next one finds, and no half image.
package struct ImageCopy {
    private let source: any ImageSource
    private let destination: any ImageDestination
    private let tag: String
    private let threads: Int

    /// The most manifests that one name may lead to, referrers among them.
    private static let manifestLimit = 10_000

    /// A copy.
    ///
    /// - Parameters:
    ///   - source: the image.
    ///   - destination: takes it.
    ///   - tag: its tag there.
    ///   - threads: how many blobs are sent at once, at least 1.
    package init(
        from source: any ImageSource,
        to destination: any ImageDestination,
        tag: String,
        threads: Int
    ) {
        self.source = source
        self.destination = destination
        self.tag = tag
        self.threads = threads
    }

    /// A manifest or an index with its bytes.
    private struct Document {
        var descriptor: Descriptor
        var bytes: [UInt8]
        /// The manifests it names.
        var children: [Descriptor] = []
        /// The blobs it names.
        var blobs: [Descriptor] = []
        /// Whether it is what was asked for.
        var isRoot = false
    }

    /// Copies.
    ///
    /// - Parameter progress: told how far the work is; called from several threads.
    /// - Returns: what was done.
    /// - Throws: an error that says what failed; the destination then has no such tag.
    package func run(
        progress: @escaping @Sendable (LayerProgress) -> Void = { _ in }
    ) throws -> ImageCopyReport {
        let root = try source.root()
        let documents = try collect(root)
        var report = ImageCopyReport(root: root)
        report.manifestCount = documents.count
        var blobs: [Descriptor] = []
        var seen: Set<Digest> = []
        var missing: [Document] = []
        for document in documents {
            let tag = document.isRoot ? tag : nil
            // A registry has a manifest only with all it names.
            let isThere = try destination.hasManifest(document.descriptor, tag: tag)
            if !isThere { missing.append(document) }
            for blob in document.blobs where seen.insert(blob.digest).inserted {
                if !isThere { blobs.append(blob) }
            }
        }
        report.blobCount = seen.count
        let sent = try send(blobs, progress)
        report.sentCount = sent.count
        report.sentBytes = sent.reduce(0) { $0 &+ $1.size }
        for document in missing where !document.isRoot { try put(document, tag: nil) }
        for document in missing where document.isRoot { try put(document, tag: tag) }
        return report
    }

    private func put(_ document: Document, tag: String?) throws {
        try destination.put(
            manifest: document.bytes,
            mediaType: document.descriptor.mediaType,
            tag: tag
        )
    }

    private func send(
        _ blobs: [Descriptor],
        _ progress: @escaping @Sendable (LayerProgress) -> Void
    ) throws -> [Descriptor] {
        let meter = LayerProgressMeter(blobs, show: progress)
        let (source, destination) = (source, destination)
        return try inParallel(blobs.count, threads: threads, name: "copy") { index in
            let blob = blobs[index]
            let isSent = try destination.copyBlob(blob, from: source, progress: meter.bytes)
            if !isSent { meter.bytes.add(Int(clamping: blob.size)) }
            meter.reportLayer()
            return isSent ? blob : nil
        }.compactMap { $0 }
    }

    /// All documents, those that are named before those that name them.
    private func collect(_ root: Descriptor) throws -> [Document] {
        var found: [Digest: Document] = [:]
        // Children are named by their parent, referrers are not: so they may come in any order
        // after what they refer to is known.
        var order: [Digest] = []
        var pending = [root]
        while let next = pending.popLast() {
            guard found[next.digest] == nil else { continue }
            guard found.count < Self.manifestLimit else {
                throw ContentError(.limitExceeded, "\(source.name): over 10000 manifests")
            }
            var document = try read(next)
            document.isRoot = next.digest == root.digest
            found[next.digest] = document
            order.append(next.digest)
            pending += document.children
            pending += try source.referrers(of: next)
        }
        var done: Set<Digest> = []
        var result: [Document] = []
        for digest in order { append(digest, found, &done, &result) }
        return result
    }

    /// Appends a document after those it names; what names itself is impossible, as a digest.
    private func append(
        _ digest: Digest,
        _ found: [Digest: Document],
        _ done: inout Set<Digest>,
        _ result: inout [Document]
    ) {
        var stack = [digest]
        while let next = stack.last {
            guard let document = found[next], !done.contains(next) else {
                stack.removeLast()
                continue
            }
            let missing = document.children.map(\.digest).filter {
                found[$0] != nil && !done.contains($0)
            }
            if missing.isEmpty {
                done.insert(next)
                result.append(document)
                stack.removeLast()
            } else {
                stack += missing
            }
        }
    }

    private func read(_ descriptor: Descriptor) throws -> Document {
        let isIndex = descriptor.mediaType.isIndex
        let object = "\(isIndex ? "index" : "manifest") \(descriptor.digest)"
        guard descriptor.size <= UInt64(JSONValue.documentLimit) else {
            throw ContentError(.limitExceeded, "\(object): \(descriptor.size) bytes")
        }
        var stream = VerifyingStream(
            try source.openBlob(descriptor),
            digest: descriptor.digest,
            size: descriptor.size,
            object: object
        )
        let bytes = try stream.readAll(limit: JSONValue.documentLimit)
        var document = Document(descriptor: descriptor, bytes: bytes)
        if isIndex {
            let index = try Index(parsing: bytes, mediaType: descriptor.mediaType)
            document.children = index.manifests.filter {
                $0.mediaType.isManifest || $0.mediaType.isIndex
            }
        } else {
            let manifest = try Manifest(parsing: bytes, mediaType: descriptor.mediaType)
            // Layers that may not be distributed stay where their URLs lead.
            document.blobs = ([manifest.config] + manifest.layers).filter { blob in
                !blob.mediaType.text.contains(".nondistributable.")
                    && !blob.mediaType.text.contains(".foreign.")
            }
        }
        return document
    }
}
