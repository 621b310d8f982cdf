// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import Linux
import OCI
import TestSupport
import Testing

/// Stores an image of one layer.
@discardableResult
private func store(_ layer: [UInt8], in layout: OCILayout, tag: String) throws -> Descriptor {
    let blob = try layout.putBlob(layer, mediaType: .layer)
    let config = try layout.putBlob(
        Array(#"{"os":"linux","rootfs":{"type":"layers","diff_ids":["\#(blob.digest)"]}}"#.utf8),
        mediaType: .config
    )
    let manifest = Manifest(config: config, layers: [blob])
    return try layout.put(manifest: manifest.serialized(), mediaType: .manifest, tag: tag)
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite("OCI layout")
struct OCILayoutTests {
    @Test func givesBackWhatWasStored() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: "\(directory.path)/new/layout", tag: "v1")
        let descriptor = try store(lines(5000), in: layout, tag: "v1")
        let image = try layout.resolve()
        #expect(image.descriptor.digest == descriptor.digest)
        #expect(image.config.diffIDs == [StreamingDigest.digest(of: lines(5000))])
        var stream = try layout.openBlob(image.manifest.layers[0])
        #expect(try stream.readAll(limit: 1 << 20) == lines(5000))
        #expect(text(directory.read("new/layout/oci-layout")) == #"{"imageLayoutVersion":"1.0.0"}"#)
        #expect(
            text(directory.read("new/layout/index.json"))
                == #"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"v1"},"#
                + #""digest":"\#(descriptor.digest)","#
                + #""mediaType":"application/vnd.oci.image.manifest.v1+json","#
                + #""size":\#(descriptor.size)}],"#
                + #""mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#
        )
        #expect(
            Set(try FileSystem.names(inDirectory: layout.directory))
                == ["blobs", "index.json", "oci-layout"]
        )
    }

    @Test func fetchesRanges() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        try store(lines(100), in: layout, tag: "a")
        let source = try layout.blobSource(try layout.resolve().manifest.layers[0])
        #expect(source.size == UInt64(lines(100).count))
        #expect(try fetch(source, at: 5, count: 20) == Array(lines(100)[5..<25]))
        #expect(throws: ContentError.self) { try fetch(source, at: source.size - 19, count: 20) }
        #expect(throws: ContentError.self) { try fetch(source, at: .max, count: 1) }
    }

    private func fetch(
        _ source: any BlobSource,
        at offset: UInt64,
        count: Int
    ) throws(ContentError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { unsafe buffer.deallocate() }
        try unsafe source.fetch(at: CompressedOffset(offset), into: buffer)
        return unsafe Array(buffer)
    }

    @Test func keepsOtherTagsAndUnknownFields() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        let first = try store(lines(1), in: layout, tag: "first")
        let other =
            #"{"annotations":{"org.opencontainers.image.ref.name":"other"},"x":[1.5],"#
            + #""digest":"\#(Digest.zero)","mediaType":"a/b","size":1}"#
        let index = text(directory.read("index.json"))
            .split(separator: #""manifests":["#, maxSplits: 1).joined(
                separator: #""manifests":[\#(other),"#
            )
        directory.write("index.json", Array(("{\"y\":null,\"z\":9," + index.dropFirst()).utf8))
        let second = try store(lines(2), in: layout, tag: "second")
        let third = try store(lines(3), in: layout, tag: "first")
        let result = text(directory.read("index.json"))
        #expect(
            result.contains(#""digest":"\#(Digest.zero)","mediaType":"a/b","size":1,"x":[1.5]"#)
        )
        #expect(result.contains(#""y":null,"z":9"#))
        #expect(!result.contains(first.digest.hex))
        #expect(try resolve(directory.path, "first").descriptor.digest == third.digest)
        #expect(try resolve(directory.path, "second").descriptor.digest == second.digest)
    }

    private func resolve(_ directory: String, _ tag: String?) throws -> ResolvedImage {
        try OCILayout(directory: directory, tag: tag).resolve()
    }

    @Test func findsTheOnlyImageWithoutATag() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        let first = try store(lines(1), in: layout, tag: "first")
        #expect(try layout.resolve().descriptor.digest == first.digest)
        try store(lines(1), in: layout, tag: "same")
        #expect(try layout.resolve().descriptor.digest == first.digest)
        try store(lines(2), in: layout, tag: "second")
        let error = #expect(throws: ContentError.self) { try layout.resolve() }
        #expect(
            error?.message == "oci:\(directory.path): names 3 different images;"
                + " tags: first, same, second"
        )
        let missing = #expect(throws: ContentError.self) { try resolve(directory.path, "none") }
        #expect(missing?.kind == .notFound)
    }

    @Test func saysWhatIsNoLayout() {
        let directory = TemporaryDirectory()
        let error = #expect(throws: ContentError.self) { try resolve(directory.path, nil) }
        #expect(error?.message == "\(directory.path): no OCI layout: no file oci-layout")
        #expect(error?.kind == .notFound)
        directory.write("oci-layout", Array(#"{"imageLayoutVersion":"2.0.0"}"#.utf8))
        let version = #expect(throws: ContentError.self) { try resolve(directory.path, nil) }
        #expect(version?.kind == .unsupported)
    }

    @Test func refusesDamagedDocuments() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        let descriptor = try store(lines(1), in: layout, tag: "a")
        let name = "blobs/sha256/\(descriptor.digest.hex)"
        var bytes = directory.read(name)
        bytes[3] ^= 1
        directory.write(name, bytes)
        let damaged = #expect(throws: ContentError.self) { try layout.resolve() }
        #expect(
            damaged?.message.hasPrefix("manifest \(descriptor.digest): digest mismatch") == true
        )
        directory.write(name, bytes + [0])
        let longer = #expect(throws: ContentError.self) { try layout.resolve() }
        #expect(
            longer?.message.hasSuffix("expected \(bytes.count) bytes, found \(bytes.count + 1)")
                == true
        )
    }

    @Test func refusesAManifestWhoseBlobsAreMissing() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "a")
        let config = try layout.putBlob(Array("{}".utf8), mediaType: .config)
        let manifest = Manifest(
            config: config,
            layers: [Descriptor(mediaType: .layer, digest: .zero, size: 1)]
        ).serialized()
        let error = #expect(throws: ContentError.self) {
            try layout.put(manifest: manifest, mediaType: .manifest, tag: "a")
        }
        #expect(error?.kind == .notFound)
        #expect(directory.read("index.json").isEmpty)
    }

    @Test func resolvesTheImageForThisMachineInANestedIndex() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: "many")
        var wanted = try store(lines(1), in: layout, tag: "a")
        var foreign = try store(lines(2), in: layout, tag: "b")
        wanted.otherFields["platform"] = .object([
            "os": .string("linux"), "architecture": .string(Platform.current.architecture),
        ])
        foreign.otherFields["platform"] = .object([
            "os": .string("linux"), "architecture": .string("s390x"),
        ])
        try setIndex(directory, layout, [foreign, wanted])
        #expect(try layout.resolve().descriptor.digest == wanted.digest)
        try setIndex(directory, layout, [foreign])
        let error = #expect(throws: ContentError.self) { try layout.resolve() }
        #expect(error?.message.hasSuffix("platforms: linux/s390x") == true)
        try setIndex(directory, layout, [wanted, wanted])
        #expect(throws: ContentError.self) { try layout.resolve() }
    }

    private func setIndex(
        _ directory: borrowing TemporaryDirectory,
        _ layout: OCILayout,
        _ manifests: [Descriptor]
    ) throws {
        var nested = Index()
        nested.manifests = manifests
        var descriptor = try layout.putBlob(nested.json.serialized(), mediaType: .index)
        descriptor.annotations["org.opencontainers.image.ref.name"] = "many"
        var index = Index()
        index.manifests = [descriptor]
        directory.write("index.json", index.json.serialized())
    }

    @Test func copiesABlobVerifiedAndKnowsItThen() throws {
        let directory = TemporaryDirectory()
        let source = OCILayout(directory: "\(directory.path)/source", tag: nil)
        let target = OCILayout(directory: "\(directory.path)/target", tag: nil)
        let blob = try source.putBlob(lines(9000), mediaType: .layer)
        #expect(!target.hasBlob(blob))
        try target.copyBlob(blob, from: source)
        #expect(target.hasBlob(blob))
        var stream = try target.openBlob(blob)
        #expect(try stream.readAll(limit: 1 << 20) == lines(9000))
        var other = blob
        other.size += 1
        #expect(!target.hasBlob(other))
        let damaged = try source.putBlob(lines(5), mediaType: .layer)
        directory.write("source/blobs/sha256/\(damaged.digest.hex)", Array(lines(5).reversed()))
        let error = #expect(throws: ContentError.self) {
            try target.copyBlob(damaged, from: source)
        }
        #expect(error?.message.contains(damaged.digest.hex) == true)
        #expect(!target.hasBlob(damaged))
    }

    @Test func leavesNothingOfAnAbandonedBlob() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        do {
            let upload = try layout.makeBlob()
            try upload.write(lines(9).rawSpan)
            #expect(try FileSystem.names(inDirectory: directory.path).count == 3)
        }
        #expect(
            Set(try FileSystem.names(inDirectory: directory.path)) == ["blobs", "oci-layout"]
        )
        #expect(try FileSystem.names(inDirectory: "\(directory.path)/blobs/sha256").isEmpty)
    }

    @Test func clearsAwayWhatDeadWritersLeft() throws {
        let directory = TemporaryDirectory()
        let layout = OCILayout(directory: directory.path, tag: nil)
        let living = try layout.makeBlob()
        directory.write(".lazypull-1-1.tmp", [1])
        directory.write("unrelated.tmp", [1])
        let another = try layout.makeBlob()
        let names = try FileSystem.names(inDirectory: directory.path)
        #expect(!names.contains(".lazypull-1-1.tmp"))
        #expect(names.contains("unrelated.tmp"))
        // Both are still there, and whole.
        #expect(try living.commit().size == 0)
        #expect(try another.commit().size == 0)
    }

    @Test func losesNoTagOfWritersAtTheSameTime() throws {
        let directory = TemporaryDirectory()
        let path = directory.path
        var threads: [ThreadBox] = []
        for number in 0..<8 {
            threads.append(
                ThreadBox(
                    try WorkerThread(name: "writer") {
                        let layout = OCILayout(directory: path, tag: nil)
                        for round in 0..<4 {
                            _ = try? store(lines(number), in: layout, tag: "t\(number)-\(round)")
                        }
                    }
                )
            )
        }
        for thread in threads { thread.join() }
        let index = try Index(parsing: directory.read("index.json"))
        #expect(index.manifests.count == 32)
    }
}

/// Holds a thread in an array, which takes no noncopyable values.
private final class ThreadBox {
    private var thread: WorkerThread?

    init(_ thread: consuming WorkerThread) {
        self.thread = consume thread
    }

    func join() {
        thread.take()?.join()
    }
}
