// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import Linux
import OCI
import TestSupport
import Testing

@Suite("Archives")
struct ArchiveTests {
    private static let layer = lines(2000)

    private static func config(_ layers: [[UInt8]]) -> [UInt8] {
        let diffIDs = layers.map { "\"\(StreamingDigest.digest(of: $0))\"" }
        return Array(
            #"{"os":"linux","rootfs":{"type":"layers","diff_ids":[\#(diffIDs.joined(separator: ","))]}}"#
                .utf8
        )
    }

    /// Writes an archive of an image of one layer.
    private func write(_ path: String, tag: String) throws -> Descriptor {
        let writer = try OCIArchiveWriter(file: path, tag: tag)
        let blob = try writer.putBlob(Self.layer, mediaType: .layer)
        let config = try writer.putBlob(Self.config([Self.layer]), mediaType: .config)
        let manifest = Manifest(config: config, layers: [blob])
        return try writer.put(manifest: manifest.serialized(), mediaType: .manifest, tag: tag)
    }

    @Test func givesBackWhatWasWritten() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/image.tar"
        directory.write("image.tar", [1, 2, 3])
        let descriptor = try write(path, tag: "v1")
        #expect(try FileSystem.names(inDirectory: directory.path) == ["image.tar"])
        let first = directory.read("image.tar")
        let archive = try OCIArchive(file: path, tag: "v1")
        let image = try archive.resolve()
        #expect(image.descriptor.digest == descriptor.digest)
        var stream = try archive.openBlob(image.manifest.layers[0])
        #expect(try stream.readAll(limit: 1 << 20) == Self.layer)
        // Replaced while it is open: what is open stays.
        _ = try write(path, tag: "v1")
        #expect(directory.read("image.tar") == first)
        let source = try archive.blobSource(image.manifest.layers[0])
        #expect(try fetch(source, at: 7, count: 9) == Array(Self.layer[7..<16]))
        #expect(throws: ContentError.self) { try fetch(source, at: source.size - 3, count: 4) }
        #expect(throws: ContentError.self) { try fetch(source, at: .max, count: 1) }
        let missing = #expect(throws: ContentError.self) {
            try OCIArchive(file: path, tag: "v2").resolve()
        }
        #expect(missing?.message == "oci-archive:\(path):v2: no such image; tags: v1")
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

    @Test func clearsAwayWhatDeadWritersLeft() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/image.tar"
        try FileSystem.makeDirectories("\(path).lazypull-1.tmp/blobs/sha256")
        directory.write("image.tar.lazypull-1.tmp/lock", [])
        directory.write("image.tar.lazypull-1.tmp/blobs/sha256/x", [1])
        _ = try OCIArchiveWriter(file: path, tag: nil)
        #expect(try FileSystem.names(inDirectory: directory.path).isEmpty)
    }

    private static func dockerManifest(_ layers: [String], tags: String = #"["app:v1"]"#) -> [UInt8]
    {
        let names = layers.map { "\"\($0)\"" }.joined(separator: ",")
        return Array(#"[{"Config":"config.json","RepoTags":\#(tags),"Layers":[\#(names)]}]"#.utf8)
    }

    @Test func followsLinksInDockersArchives() throws {
        let directory = TemporaryDirectory()
        let config = Self.config([Self.layer, Self.layer])
        let archive =
            TarBlocks.file("./a/layer.tar", Self.layer)
            + TarBlocks.header("b/layer.tar", type: "2") {
                TarBlocks.set(&$0, 157, "../a/layer.tar")
            }
            + TarBlocks.file("config.json", config)
            + TarBlocks.file("manifest.json", Self.dockerManifest(["a/layer.tar", "b/layer.tar"]))
        directory.write("image.tar", archive + TarBlocks.end)
        let source = try DockerArchive(file: "\(directory.path)/image.tar", tag: "v1")
        let image = try source.resolve()
        #expect(image.configBytes == config)
        #expect(image.manifest.layers.map(\.mediaType) == [.dockerLayer, .dockerLayer])
        for layer in image.manifest.layers {
            var stream = try source.openBlob(layer)
            #expect(try stream.readAll(limit: 1 << 20) == Self.layer)
        }
    }

    @Test(
        arguments: [
            ("2", "../manifest.json"), ("2", "/manifest.json"), ("2", "layer.tar"), ("1", "gone"),
            ("2", "../../x"), ("5", ""), ("3", ""),
        ] as [(Character, String)]
    )
    func refusesLayersThatAreNoFiles(type: Character, target: String) throws {
        let directory = TemporaryDirectory()
        let archive =
            TarBlocks.header("layer.tar", type: type) { TarBlocks.set(&$0, 157, target) }
            + TarBlocks.file("config.json", Self.config([Self.layer]))
            + TarBlocks.file("manifest.json", Self.dockerManifest(["layer.tar"]))
        directory.write("image.tar", archive)
        #expect(throws: ContentError.self) {
            let source = try DockerArchive(file: "\(directory.path)/image.tar", tag: nil)
            var stream = try source.openBlob(try source.resolve().manifest.layers[0])
            _ = try stream.readAll(limit: 1 << 20)
            throw ContentError.corrupt("reached: digests tell")
        }
    }

    @Test func endsOnHostileArchives() throws {
        let directory = TemporaryDirectory()
        let archive =
            TarBlocks.file("config.json", Self.config([lines(1)])) + TarBlocks.file("l", lines(1))
            + TarBlocks.file("manifest.json", Self.dockerManifest(["l"])) + TarBlocks.end
        func open(_ bytes: [UInt8]) {
            directory.write("image.tar", bytes)
            let path = "\(directory.path)/image.tar"
            _ = try? DockerArchive(file: path, tag: nil).resolve()
            _ = try? OCIArchive(file: path, tag: nil).resolve()
        }
        for length in stride(from: 0, to: archive.count, by: 17) { open(Array(archive[..<length])) }
        for flipped in bitFlips(of: archive, every: 101) { open(flipped) }
        // Sizes that lead out of the archive and out of numbers.
        for size in ["77777777777", "00000000777"] {
            open(TarBlocks.header("big") { TarBlocks.set(&$0, 124, size) } + archive)
        }
        open(
            TarBlocks.header("big") {
                $0.replaceSubrange(
                    124..<136,
                    with: [0x80, 0, 0, 0, 0x7f] + [UInt8](repeating: 0xff, count: 7)
                )
            } + archive
        )
    }
}
