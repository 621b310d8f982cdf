// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Convert
import Distribution
import OCI
import RAFS
import TestSupport
import Testing

@Suite("Conversion")
struct ConversionTests {
    static func layers() -> [[UInt8]] {
        var generator = SeededGenerator(seed: 9)
        let random = generator.bytes(300_000)
        let lower =
            TarBlocks.header("d", type: "5") + TarBlocks.file("d/text", lines(20_000))
            + TarBlocks.file("d/random", random) + TarBlocks.file("gone", [1, 2, 3])
        let middle =
            TarBlocks.file("again", lines(20_000)) + TarBlocks.file(".wh.gone", [])
            + TarBlocks.file("twice", random) + TarBlocks.file("thrice", random)
            + TarBlocks.pax([("SCHILY.xattr.system.nfs4_acl", "x")]) + TarBlocks.file("acl", [])
        let upper = TarBlocks.header("d/empty", type: "5")
        return [lower, middle, upper].map { $0 + TarBlocks.end }
    }

    /// Stores an image of the layers, every second one compressed.
    static func store(
        _ layers: [[UInt8]],
        in layout: OCILayout,
        diffID: (Int, Digest) -> Digest = { $1 }
    ) throws {
        var blobs: [Descriptor] = []
        var diffIDs: [String] = []
        for (index, tar) in layers.enumerated() {
            let isCompressed = index % 2 == 0
            blobs.append(
                try layout.putBlob(
                    isCompressed ? GzipEncoder.compress(tar) : tar,
                    mediaType: isCompressed ? .layerGzip : .layer
                )
            )
            diffIDs.append("\"\(diffID(index, StreamingDigest.digest(of: tar)).oci)\"")
        }
        let config =
            #"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"#
            + #""history":[{"created_by":"x"}],"rootfs":{"type":"layers","#
            + #""diff_ids":[\#(diffIDs.joined(separator: ","))]}}"#
        let manifest = Manifest(
            config: try layout.putBlob(Array(config.utf8), mediaType: .config),
            layers: blobs
        )
        _ = try layout.put(manifest: manifest.serialized(), mediaType: .manifest, tag: "source")
    }

    static func convert(
        _ layout: OCILayout,
        to directory: String,
        options: ConversionOptions
    ) throws -> ConversionReport {
        try Conversion(
            from: layout,
            to: OCILayout(directory: directory, tag: nil),
            tag: "converted",
            options: options
        ).run()
    }

    @Test func theSameImageGivesTheSameBytesWithAnyThreads() throws {
        let directory = TemporaryDirectory()
        let source = OCILayout(directory: "\(directory.path)/source", tag: nil)
        try Self.store(Self.layers(), in: source)
        var digests: Set<Digest> = []
        for threads in [1, 2, 2, 7] {
            let report = try Self.convert(
                source,
                to: "\(directory.path)/\(threads)-\(digests.count)",
                options: ConversionOptions(threads: threads, chunkSize: 1 << 16)
            )
            digests.insert(report.manifest.digest)
        }
        #expect(digests.count == 1)
    }

    @Test func theReportTellsWhatWasMade() throws {
        let directory = TemporaryDirectory()
        let source = OCILayout(directory: "\(directory.path)/source", tag: nil)
        try Self.store(Self.layers(), in: source)
        let target = "\(directory.path)/target"
        let report = try Self.convert(
            source,
            to: target,
            options: ConversionOptions(threads: 2, chunkSize: 1 << 16)
        )
        let text = (lines(20_000).count + (1 << 16) - 1) >> 16
        #expect(report.layers.map(\.chunkCount) == [text + 5 + 1, text + 5, 0])
        #expect(report.layers.map(\.duplicateCount) == [0, 5, 0])
        #expect(
            report.layers.map(\.source.digest)
                == (try source.resolve()).manifest.layers.map(\.digest)
        )
        #expect(
            report.warnings == ["acl: xattr system.nfs4_acl cannot be stored and is left out"]
        )
        let image = try ConvertedImage(OCILayout(directory: target, tag: "converted"))
        let manifest = image.image.manifest
        #expect(manifest.dataBlobs.map(\.digest) == report.layers.map(\.blob.digest))
        #expect(image.image.config.diffIDs.dropLast() == report.layers.map(\.blob.digest)[...])
        #expect(image.image.config.history.count == 2)
        #expect(image.image.config.otherFields["config"] != nil)
        #expect(manifest.annotations["containerd.io/snapshot/nydus-fs-version"] == "6")
        #expect(image.bootstrapLayer.digest == report.bootstrap.digest)
        var paths: [BootstrapFile: Int] = [:]
        try unsafe image.readBootstrapLayer { file, size, _ in paths[file] = Int(size) }
        // Only the lowest blob is needed: the second layer's chunks are all in it.
        let blob = report.layers[0].blob.digest
        #expect(Set(paths.keys) == [.bootstrap, .chunkInfo(blob), .chunkDigests(blob)])
        #expect(paths[.chunkDigests(blob)] == report.layers[0].chunkCount * 32)
    }

    @Test func aConvertedImageIsNotConvertedAgain() throws {
        let directory = TemporaryDirectory()
        let source = OCILayout(directory: directory.path, tag: "source")
        try Self.store([TarBlocks.file("f", [1]) + TarBlocks.end], in: source)
        let options = ConversionOptions(threads: 1)
        _ = try Self.convert(source, to: directory.path, options: options)
        let converted = OCILayout(directory: directory.path, tag: "converted")
        let error = #expect(throws: ContentError.self) {
            try Self.convert(converted, to: "\(converted.directory)/x", options: options)
        }
        #expect(error?.kind == .unsupported)
    }

    @Test(arguments: [1, 2])
    func aWrongDiffIDIsNamedAndLeavesNoTag(_ threads: Int) throws {
        let directory = TemporaryDirectory()
        let source = OCILayout(directory: "\(directory.path)/source", tag: nil)
        try Self.store(Self.layers(), in: source) { index, digest in index == 1 ? .zero : digest }
        let layer = try source.resolve().manifest.layers[1]
        let target = "\(directory.path)/target"
        let error = #expect(throws: ContentError.self) {
            try Self.convert(source, to: target, options: ConversionOptions(threads: threads))
        }
        #expect(error?.message.contains("\(layer.digest)") == true)
        #expect(error?.message.contains("expected \(Digest.zero)") == true)
        let index = directory.read("target/index.json")
        #expect(index.isEmpty)
    }

    @Test func brokenLayersAreNamed() throws {
        let layers: [([UInt8], String)] = [
            (TarBlocks.file("../f", [1]), "../f: the path leads out of the root directory"),
            (TarBlocks.header("a/b", type: "2"), "a/b: a symbolic link to 0 bytes"),
            (Array(TarBlocks.file("f", lines(500)).prefix(9000)), "tar archive ends at offset"),
            (
                TarBlocks.header("c", type: "3") { TarBlocks.set(&$0, 329, "0010000\u{0}") },
                "c: device 4096:0"
            ),
        ]
        for (tar, message) in layers {
            let directory = TemporaryDirectory()
            let source = OCILayout(directory: "\(directory.path)/source", tag: nil)
            try Self.store([tar], in: source)
            let target = "\(directory.path)/target"
            let error = #expect(throws: ContentError.self) {
                try Self.convert(source, to: target, options: ConversionOptions(threads: 2))
            }
            #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
        }
    }
}
