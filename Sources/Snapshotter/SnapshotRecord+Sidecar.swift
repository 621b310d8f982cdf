// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import OCI

/// The sidecar: a snapshot's row as JSON, in the file `snapshot.json` of its directory.
///
/// It is read only when the database is lost. `version` is 1, or 2 with the fields of a lazy
/// snapshot; the rest has the names of the protocol, with `parent` the number of the snapshot below.
extension SnapshotRecord {
    private static let version: Int64 = 1
    private static let lazyVersion: Int64 = 2

    /// The sidecar's bytes; equal for equal records.
    var sidecar: [UInt8] {
        var fields: [String: JSONValue] = [
            "version": .integer(lazy == nil ? Self.version : Self.lazyVersion),
            "id": .integer(id),
            "name": .string(name),
            "kind": .string(kind.name),
            "created_at": .integer(createdAt),
            "updated_at": .integer(updatedAt),
            "labels": .object(labels.mapValues { .string($0) }),
        ]
        fields["parent"] = parentID.map { .integer($0) }
        fields["size"] = usage.map { .integer($0.size) }
        fields["inodes"] = usage.map { .integer($0.inodes) }
        if let lazy {
            fields["image"] = .string(lazy.image.oci)
            fields["reference"] = .string(lazy.reference)
            fields["layer"] = .integer(Int64(lazy.index))
        }
        return JSONValue.object(fields).serialized() + [0x0a]
    }

    /// The record that a sidecar holds.
    ///
    /// - Parameters:
    ///   - bytes: the file.
    ///   - path: its path, for the error.
    /// - Throws: `ContentError` naming what is wrong with it.
    init(sidecar bytes: [UInt8], path: String) throws(ContentError) {
        let document = try JSONValue(parsing: bytes, document: path)
        func integer(_ key: String) throws(ContentError) -> Int64 {
            guard case .integer(let number) = document[key] else {
                throw .corrupt("\(path): no number \(key)")
            }
            return number
        }
        let version = try integer("version")
        guard [Self.version, Self.lazyVersion].contains(version) else {
            throw .unsupported("\(path): made by a newer lazypull")
        }
        guard let name = document["name"]?.text, !name.isEmpty else {
            throw .corrupt("\(path): no name")
        }
        let kinds = SnapshotInfo.Kind.allCases.filter { $0.name == document["kind"]?.text }
        guard let kind = kinds.first else { throw .corrupt("\(path): no kind") }
        guard case .object(let words) = document["labels"] ?? .object([:]) else {
            throw .corrupt("\(path): labels are no object")
        }
        id = try integer("id")
        self.name = name
        self.kind = kind
        parentID = document["parent"] == nil ? nil : try integer("parent")
        createdAt = try integer("created_at")
        updatedAt = try integer("updated_at")
        labels = words.compactMapValues(\.text)
        usage =
            document["size"] == nil
            ? nil : SnapshotUsage(inodes: try integer("inodes"), size: try integer("size"))
        guard version == Self.lazyVersion else { return }
        guard let image = document["image"]?.text.flatMap({ Digest(oci: $0) }),
            let reference = document["reference"]?.text
        else { throw .corrupt("\(path): no image") }
        let index = Int(clamping: try integer("layer"))
        guard index >= 0 else { throw .corrupt("\(path): layer \(index)") }
        lazy = LazyLayer(image: image, reference: reference, index: index)
    }
}
