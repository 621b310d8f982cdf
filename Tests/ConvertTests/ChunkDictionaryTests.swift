// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Distribution
import OCI
import RAFS
import Tar
import TestSupport
import Testing

@testable import Convert

@Suite("Chunk dictionary")
struct ChunkDictionaryTests {
    private typealias Files = [(String, [UInt8])]

    /// Converts a layer of these files to a layout of its own.
    private static func convert(
        _ files: Files,
        in directory: borrowing TemporaryDirectory,
        _ name: String,
        chunkSize: UInt32 = 4096,
        dictionary: ChunkDictionary = .empty
    ) throws -> (image: OCILayout, report: ConversionReport) {
        try convert(
            layers: [files],
            in: directory,
            name,
            chunkSize: chunkSize,
            dictionary: dictionary
        )
    }

    private static func convert(
        layers files: [Files],
        in directory: borrowing TemporaryDirectory,
        _ name: String,
        chunkSize: UInt32 = 4096,
        dictionary: ChunkDictionary = .empty
    ) throws -> (image: OCILayout, report: ConversionReport) {
        let source = OCILayout(directory: "\(directory.path)/\(name)-source", tag: nil)
        let tars = files.map { $0.flatMap { TarBlocks.file($0, $1) } + TarBlocks.end }
        let layers = try tars.map { try source.putBlob($0, mediaType: .layer) }
        let diffIDs = layers.map { "\"\($0.digest.oci)\"" }.joined(separator: ",")
        let config =
            #"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#
            + #"\#(diffIDs)]}}"#
        let manifest = Manifest(
            config: try source.putBlob(Array(config.utf8), mediaType: .config),
            layers: layers
        )
        _ = try source.put(manifest: manifest.serialized(), mediaType: .manifest, tag: "source")
        let target = OCILayout(directory: "\(directory.path)/\(name)", tag: "converted")
        let report = try Conversion(
            from: source,
            to: target,
            tag: "converted",
            options: ConversionOptions(threads: 2, chunkSize: chunkSize, dictionary: dictionary)
        ).run()
        return (target, report)
    }

    private static func noise(_ count: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: 4)
        return generator.bytes(count)
    }

    @Test func chunksAreFoundByDigestAndSize() throws {
        let directory = TemporaryDirectory()
        let noise = Self.noise(10_000)
        let (image, _) = try Self.convert([("f", noise)], in: directory, "base")
        let dictionary = try ChunkDictionary([image], chunkSize: 4096)
        let first = StreamingDigest.digest(of: Array(noise.prefix(4096)))
        let last = StreamingDigest.digest(of: Array(noise.suffix(10_000 - 8192)))
        #expect(dictionary.address(of: first, size: 4096) == ChunkAddress(blob: 1, index: 0))
        #expect(dictionary.address(of: last, size: 1808) == ChunkAddress(blob: 1, index: 2))
        #expect(dictionary.address(of: first, size: 4095) == nil)
        #expect(dictionary.address(of: .zero, size: 4096) == nil)
        #expect(dictionary.chunk(at: 2, of: 1)?.digest == last)
        #expect(dictionary.chunk(at: 3, of: 1) == nil)
        #expect(ChunkDictionary.empty.address(of: first, size: 4096) == nil)
    }

    @Test func theFirstImageGivesAChunkAndABlobIsThereOnce() throws {
        let directory = TemporaryDirectory()
        let noise = Self.noise(12_288)
        let low = try Self.convert([("f", Array(noise.prefix(8192)))], in: directory, "low").image
        let high = try Self.convert([("f", Array(noise.suffix(8192)))], in: directory, "high").image
        let dictionary = try ChunkDictionary([low, high, low, high], chunkSize: 4096)
        #expect(dictionary.blobs.count == 2)
        let addresses = (0..<3).map { index in
            dictionary.address(
                of: StreamingDigest.digest(of: Array(noise[index * 4096..<(index + 1) * 4096])),
                size: 4096
            )
        }
        #expect(
            addresses == [
                ChunkAddress(blob: 1, index: 0), ChunkAddress(blob: 1, index: 1),
                ChunkAddress(blob: 2, index: 1),
            ]
        )
    }

    @Test func whatADictionaryHasIsNotStoredAndItsBlobComesAlong() throws {
        let directory = TemporaryDirectory()
        let noise = Self.noise(20_000)
        let (base, baseReport) = try Self.convert([("f", noise)], in: directory, "base")
        let (image, report) = try Self.convert(
            [("a", noise), ("b", [1, 2, 3]), ("c", noise)],
            in: directory,
            "new",
            dictionary: try ChunkDictionary([base], chunkSize: 4096)
        )
        let layer = report.layers[0]
        #expect(layer.chunkCount == 1)
        #expect(layer.pieces.all.pieces == 11)
        #expect(layer.pieces.inDictionary.pieces == 10)
        #expect(layer.pieces.inDictionary.bytes == 40_000)
        let known = baseReport.layers[0].blob.digest
        #expect(report.dictionaryBlobs.map(\.digest) == [known])
        let converted = try ConvertedImage(image)
        let manifest = converted.image.manifest
        #expect(manifest.dataBlobs.map(\.digest) == [known, layer.blob.digest])
        #expect(
            converted.image.config.diffIDs
                == [known, layer.blob.digest] + converted.image.config.diffIDs.suffix(1)
        )
        let files = try converted.bootstrapFiles()
        #expect(files[.chunkInfo(known)] != nil && files[.chunkDigests(known)]?.count == 5 * 32)
        let bootstrap = files[.bootstrap] ?? []
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        #expect(layout.blobs.map(\.id) == [known.hex, layer.blob.digest.hex])
        #expect(throws: Never.self) {
            try Bootstrap(bytes: bootstrap.rawSpan, layout: layout).tree()
        }
    }

    /// The digests of the chunks of each file of a layer's own tree, through the bootstrap that is
    /// inlined in its blob.
    private static func digests(
        inlinedIn blob: Descriptor,
        of image: OCILayout,
        _ dictionary: ChunkDictionary
    ) throws -> [String: [Digest]] {
        let parts = BlobParts(try image.blobSource(blob))
        let toc = try #require(try parts.tableOfContents())
        let bytes = try parts.part(try #require(toc.entry(named: BlobTOC.Name.bootstrap)))
        let own = try toc.entry(named: BlobTOC.Name.chunkDigests).map { try parts.part($0) } ?? []
        let layout = try BootstrapLayout(bytes.rawSpan)
        let tree = try Bootstrap(bytes: bytes.rawSpan, layout: layout).tree()
        var result: [String: [Digest]] = [:]
        for (name, node) in tree[FileTree.root].children {
            result["\(name)"] = try tree[node].chunks.map { address in
                let blob = layout.blobs[Int(address.blob)]
                guard let id = blob.digest else {
                    return try Digest(own.rawSpan, at: Int(address.index) * Digest.byteCount)
                }
                let number = try #require(
                    dictionary.blobs.firstIndex { $0.descriptor.digest == id }
                )
                return try #require(dictionary.chunk(at: address.index, of: UInt16(number) + 1))
                    .digest
            }
        }
        return result
    }

    @Test func aLayersOwnBootstrapIsWholeWithTheDictionary() throws {
        let directory = TemporaryDirectory()
        let noise = Self.noise(40_000)
        let base: [Files] = [
            [("b", Array(noise[..<10_000]))], [("a", Array(noise[10_000..<20_000]))],
        ]
        let dictionary = try ChunkDictionary(
            [try Self.convert(layers: base, in: directory, "base").image],
            chunkSize: 4096
        )
        let layers: [Files] = [
            [("old", Array(noise[..<20_000])), ("new", Array(noise[20_000...]))],
            [("only-old", Array(noise[10_000..<20_000])), (".wh.old", [])],
            [("only-new", Array(noise.reversed()))], [],
        ]
        let (image, report) = try Self.convert(
            layers: layers,
            in: directory,
            "new",
            dictionary: dictionary
        )
        // Each on its own: whatever the layers below and above, they can be merged.
        for (files, layer) in zip(layers, report.layers) {
            let found = try Self.digests(inlinedIn: layer.blob, of: image, dictionary)
            #expect(Set(found.keys) == Set(files.map(\.0)))
            for (name, content) in files {
                let expected = stride(from: 0, to: content.count, by: 4096).map {
                    StreamingDigest.digest(of: Array(content[$0..<min($0 + 4096, content.count)]))
                }
                #expect(found[name] == expected, "\(name)")
            }
        }
        #expect(report.dictionaryBlobs.count == 2)
    }

    @Test func anotherChunkSizeIsRefused() throws {
        let directory = TemporaryDirectory()
        let (image, _) = try Self.convert([("f", [1])], in: directory, "base", chunkSize: 8192)
        let error = #expect(throws: ContentError.self) {
            try ChunkDictionary([image], chunkSize: 4096)
        }
        #expect(error?.kind == .unsupported)
        #expect(
            error?.message
                == "\(image.name): its chunks have 8192 bytes, expected 4096:"
                + " a dictionary must be cut as the new image is"
        )
    }

    /// The image with its bootstrap layer's files changed, tagged anew.
    private static func changed(
        _ image: OCILayout,
        _ change: (BootstrapFile, inout [UInt8]) -> Void
    ) throws -> OCILayout {
        let converted = try ConvertedImage(image)
        var writer = TarWriter(ArraySink())
        // In one order for all runs: a seed means one damage.
        let files = try converted.bootstrapFiles().sorted { "\($0.key)" < "\($1.key)" }
        for (file, bytes) in files {
            var bytes = bytes
            change(file, &bytes)
            switch file {
            case .bootstrap: try writer.addFile("image/image.boot", bytes.rawSpan)
            case .chunkInfo(let blob):
                try writer.addFile("image/\(blob.hex).blob.meta", bytes.rawSpan)
            case .chunkDigests(let blob):
                try writer.addFile("image/\(blob.hex).blob.digest", bytes.rawSpan)
            }
        }
        let tar = try writer.finish().bytes
        var layer = try image.putBlob(tar, mediaType: .layer)
        layer.annotations = converted.bootstrapLayer.annotations
        var config = converted.image.config
        config.diffIDs[config.diffIDs.count - 1] = layer.digest
        var manifest = converted.image.manifest
        manifest.layers[manifest.layers.count - 1] = layer
        manifest.config = try image.putBlob(config.serialized(), mediaType: .config)
        _ = try image.put(manifest: manifest.serialized(), mediaType: .manifest, tag: "changed")
        return OCILayout(directory: image.directory, tag: "changed")
    }

    @Test func recordsOutsideOfTheirBlobAreRefused() throws {
        let directory = TemporaryDirectory()
        let (image, _) = try Self.convert([("f", Self.noise(9000))], in: directory, "base")
        // The last chunk's two words: places and sizes that no blob of this size has.
        for byte in [16 * 2 + 4, 16 * 2 + 8 + 3] {
            let hostile = try Self.changed(image) { file, bytes in
                if case .chunkInfo = file { bytes[byte] = 0x7f }
            }
            let error = #expect(throws: ContentError.self) {
                try ChunkDictionary([hostile], chunkSize: 4096)
            }
            #expect(error?.kind == .corrupt)
            #expect(error?.message.hasPrefix("\(hostile.name): blob ") == true)
        }
        let unnamed = try Self.changed(image) { file, bytes in
            if case .chunkDigests = file { bytes = [UInt8](repeating: 0, count: bytes.count) }
        }
        let dictionary = try ChunkDictionary([unnamed], chunkSize: 4096)
        #expect(dictionary.address(of: .zero, size: 4096) == nil)
    }

    @Test(arguments: 0..<40)
    func damagedDictionariesNeverTrap(_ seed: Int) throws {
        let directory = TemporaryDirectory()
        let (image, _) = try Self.convert([("f", Self.noise(30_000))], in: directory, "base")
        var generator = SeededGenerator(seed: UInt64(seed))
        let hostile = try Self.changed(image) { _, bytes in
            for _ in 0..<3 where !bytes.isEmpty {
                let place = Int.random(in: bytes.indices, using: &generator)
                bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
        }
        guard let dictionary = try? ChunkDictionary([hostile], chunkSize: 4096) else { return }
        let files = [("again", Self.noise(30_000))]
        _ = try? Self.convert(files, in: directory, "new", dictionary: dictionary)
    }

    @Test func flagsTellWhetherEveryBlobCarriesDigests() throws {
        let directory = TemporaryDirectory()
        let (image, _) = try Self.convert([("f", [1])], in: directory, "base")
        var entries = try ChunkDictionary([image], chunkSize: 4096).blobs.map(\.entry)
        #expect(BootstrapWriter.flags(.zstd, blobs: entries).contains(.inlinedChunkDigests))
        entries[0].features.remove(.inlinedChunkDigests)
        #expect(!BootstrapWriter.flags(.zstd, blobs: entries).contains(.inlinedChunkDigests))
    }
}
