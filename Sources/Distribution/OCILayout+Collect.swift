// SPDX-License-Identifier: Apache-2.0

package import Content
import Linux
import OCI

/// What was freed of a layout, or would be.
package struct LayoutCollection: Sendable, Equatable {
    /// Indexes over images that a later one has replaced.
    package var replaced: [Digest] = []
    /// Blobs that nothing names.
    package var blobCount = 0
    /// Their bytes.
    package var byteCount: UInt64 = 0
}

extension OCILayout {
    /// Frees what nobody finds any more: of several indexes over one image all but the last listed,
    /// and blobs that no manifest names.
    ///
    /// Writers are kept out meanwhile. What one of them is about to list is young.
    ///
    /// - Parameters:
    ///   - seconds: how old a blob must be that is removed.
    ///   - isDry: whether to remove nothing, and only tell what would be.
    /// - Returns: what was removed; nothing where there is no such directory.
    /// - Throws: an error that names what cannot be read, before anything is removed; or what cannot
    ///   be removed.
    package func collect(olderThan seconds: Int, isDry: Bool) throws -> LayoutCollection {
        guard (try? FileStatus(path: directory)) != nil else { return LayoutCollection() }
        return try locked { () throws in
            var result = LayoutCollection()
            let bytes = try reader.files.contents(
                of: "index.json",
                limit: JSONValue.documentLimit
            )
            var index = try Index(parsing: bytes, document: indexPath)
            result.replaced = try replacedIndexes(of: index)
            index.manifests.removeAll { result.replaced.contains($0.digest) }
            let kept = try blobs(of: index.manifests)
            if !isDry, !result.replaced.isEmpty { try replaceIndex(index.json.serialized()) }
            let now = CurrentProcess.secondsSince1970
            for name in try FileSystem.names(inDirectory: blobDirectory) {
                guard let digest = Digest(hex: name), !kept.contains(digest) else { continue }
                let path = blobPath(digest)
                let status = try FileStatus(path: path)
                guard now - status.modificationSeconds >= Int64(seconds) else { continue }
                if !isDry { try FileSystem.removeFile(path) }
                result.blobCount += 1
                result.byteCount += status.size
            }
            return result
        }
    }

    /// The indexes over images without a tag that are followed by another one over the same image.
    private func replacedIndexes(of index: Index) throws -> [Digest] {
        var last: [Digest: Digest] = [:]
        var replaced: [Digest] = []
        for entry in index.manifests
        where entry.mediaType.isManifest && entry.annotations[Self.tagKey] == nil {
            let manifest = try Manifest(
                parsing: try reader.document(entry, "manifest"),
                mediaType: entry.mediaType
            )
            guard manifest.bootstrapLayer != nil, let subject = manifest.subject?.digest else {
                continue
            }
            if let old = last.updateValue(entry.digest, forKey: subject), old != entry.digest {
                replaced.append(old)
            }
        }
        return replaced
    }

    /// All that manifests name, they themselves, and those in indexes among them.
    private func blobs(of manifests: [Descriptor]) throws -> Set<Digest> {
        var found: Set<Digest> = []
        var pending = manifests
        while let next = pending.popLast() {
            guard found.insert(next.digest).inserted else { continue }
            if next.mediaType.isIndex {
                pending += try Index(
                    parsing: try reader.document(next, "index"),
                    mediaType: next.mediaType
                ).manifests
            } else if next.mediaType.isManifest {
                let manifest = try Manifest(
                    parsing: try reader.document(next, "manifest"),
                    mediaType: next.mediaType
                )
                found.insert(manifest.config.digest)
                found.formUnion(manifest.layers.map(\.digest))
            }
        }
        return found
    }
}
