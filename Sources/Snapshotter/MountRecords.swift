// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI

/// What is known of a mount beside its descriptor: enough for another process to serve it.
struct MountRecord: Equatable {
    /// The image, by its manifest's digest.
    var image: Digest
    /// How many of its layers, from the lowest; nil for all.
    var layers: Int?
    /// The manifest of what is mounted, which for some of the layers is made here; nil in records of
    /// versions that did not say.
    var manifest: Digest?
    /// Where its data is.
    var reference: String
    /// Where it is mounted.
    var path: String
    var continuation: MountContinuation
    /// The time since the machine booted in which it was mounted; hexadecimal.
    var boot = Self.thisBoot

    private static let version: Int64 = 1
    private static var thisBoot: String { HexText.text(of: currentBootID() ?? []) }

    var isOfThisBoot: Bool { boot == Self.thisBoot }

    /// The record as JSON.
    var bytes: [UInt8] {
        var fields: [String: JSONValue] = [
            "version": .integer(Self.version),
            "image": .string(image.oci),
            "reference": .string(reference),
            "path": .string(path),
            "boot": .string(boot),
            "name": .string(continuation.name),
            "device": .unsigned(continuation.device),
            "init": .string(HexText.text(of: continuation.initRequest)),
        ]
        fields["manifest"] = manifest.map { .string($0.oci) }
        fields["layers"] = layers.map { .integer(Int64($0)) }
        return JSONValue.object(fields).serialized() + [0x0a]
    }
}

extension MountRecord {
    /// The record that a file holds.
    ///
    /// - Parameters:
    ///   - bytes: the file.
    ///   - file: its path, for the error.
    /// - Throws: `ContentError` naming what is wrong with it.
    init(_ bytes: [UInt8], path file: String) throws(ContentError) {
        let document = try JSONValue(parsing: bytes, document: file)
        guard document["version"] == .integer(Self.version) else {
            throw .unsupported("\(file): made by another version of lazypull")
        }
        func text(_ key: String) throws(ContentError) -> String {
            guard let text = document[key]?.text else { throw .corrupt("\(file): no text \(key)") }
            return text
        }
        guard let image = Digest(oci: try text("image")) else {
            throw .corrupt("\(file): image is no digest")
        }
        guard let initRequest = HexText.bytes(of: try text("init")) else {
            throw .corrupt("\(file): init is not hexadecimal")
        }
        guard case .integer(let device) = document["device"], let device = UInt64(exactly: device)
        else { throw .corrupt("\(file): no number device") }
        switch document["layers"] {
        case nil: layers = nil
        case .integer(let count) where (1...1 << 20).contains(count): layers = Int(count)
        default: throw .corrupt("\(file): layers is no count")
        }
        if document["manifest"] != nil {
            guard let manifest = Digest(oci: try text("manifest")) else {
                throw .corrupt("\(file): manifest is no digest")
            }
            self.manifest = manifest
        }
        self.image = image
        reference = try text("reference")
        path = try text("path")
        boot = try text("boot")
        continuation = MountContinuation(
            name: try text("name"),
            device: device,
            initRequest: initRequest
        )
    }
}

/// The records of a root directory's mounts, a file each.
struct MountRecords: Sendable {
    private let directory: String
    private static let suffix = ".json"

    init(_ directory: String) {
        self.directory = directory
    }

    /// The names of the mounts' descriptors.
    ///
    /// - Returns: them, in no order that means anything.
    /// - Throws: `SystemError` if nobody can say which there are.
    func names() throws(SystemError) -> [String] {
        try FileSystem.names(inDirectory: directory).filter { $0.hasSuffix(Self.suffix) }
            .map { String($0.dropLast(Self.suffix.count)) }.sorted()
    }

    private func path(_ name: String) -> String { "\(directory)/\(name)\(Self.suffix)" }

    /// The record of a mount.
    ///
    /// - Throws: `SystemError`, `ContentError`.
    func read(_ name: String) throws -> MountRecord {
        let path = path(name)
        let record = try MountRecord(FileSystem.contents(of: path, limit: 1 << 16), path: path)
        guard record.continuation.name == name else {
            throw ContentError.corrupt("\(path): of mount \(record.continuation.name)")
        }
        return record
    }

    /// Writes a record: all of it or nothing, whenever the process dies.
    ///
    /// A mount does not outlive the machine, so its record need not be safe on storage.
    ///
    /// - Throws: `SystemError`.
    func write(_ record: MountRecord) throws(SystemError) {
        let bytes = record.bytes
        let path = path(record.continuation.name)
        try unsafe FileSystem.replace(path, with: bytes.span.bytes, isDurable: false)
    }

    /// Removes a record; nothing happens if there is none.
    func remove(_ name: String) {
        try? FileSystem.removeFile(path(name))
    }
}

/// Bytes as hexadecimal digits.
enum HexText {
    static func text(of bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        let text = bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes; nil if the text is something else.
    static func bytes(of text: String) -> [UInt8]? {
        let digits = text.utf8.map { UInt8(String(decoding: [$0], as: UTF8.self), radix: 16) }
        guard digits.count % 2 == 0 else { return nil }
        var result: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digits[index], let low = digits[index + 1] else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }
}
