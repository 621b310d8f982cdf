// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Convert
import Distribution
import Layers
import OCI
import RAFS
import TestSupport
import Testing

@Suite("The first layers of a converted image")
struct LayerPrefixTests {
    private static let options = ConversionOptions(threads: 1, chunkSize: 1 << 16)

    /// A converted image of the layers, and what its conversion reported.
    private static func converted(
        _ layers: [[UInt8]],
        in directory: String,
        options: ConversionOptions = options
    ) throws -> (image: OCILayout, report: ConversionReport) {
        let source = OCILayout(directory: "\(directory)-source", tag: nil)
        try ConversionTests.store(layers, in: source)
        let report = try ConversionTests.convert(source, to: directory, options: options)
        return (OCILayout(directory: directory, tag: "converted"), report)
    }

    @Test func isTheImageOfTheseLayersAlone() throws {
        let directory = TemporaryDirectory()
        let layers = ConversionTests.layers()
        let (whole, report) = try Self.converted(layers, in: "\(directory.path)/whole")
        for count in 1...layers.count {
            let (_, alone) = try Self.converted(
                Array(layers.prefix(count)),
                in: "\(directory.path)/\(count)"
            )
            let prefix = try LayerPrefix(of: whole, layers: count)
            let image = try ConvertedImage(prefix)
            #expect(image.bootstrapLayer.digest == alone.bootstrap.digest)
            #expect(image.image.manifest.dataBlobs == image.image.manifest.layers.dropLast())
            #expect(
                image.image.manifest.dataBlobs.map(\.digest) == alone.layers.map(\.blob.digest)
            )
            // Its files are read, verified, by whoever reads converted images.
            #expect(try image.bootstrapFiles()[.bootstrap] != nil)
        }
        #expect(
            try ConvertedImage(LayerPrefix(of: whole, layers: layers.count)).bootstrapLayer
                .digest == report.bootstrap.digest
        )
    }

    @Test func layersWithoutContentAndRepeatedOnesCount() throws {
        let directory = TemporaryDirectory()
        let file = TarBlocks.file("f", lines(9)) + TarBlocks.end
        let layers = [TarBlocks.end, file, TarBlocks.end, file]
        let (whole, report) = try Self.converted(layers, in: "\(directory.path)/whole")
        let all = try ConvertedImage(LayerPrefix(of: whole, layers: 4))
        #expect(all.bootstrapLayer.digest == report.bootstrap.digest)
        let none = try ConvertedImage(LayerPrefix(of: whole, layers: 1)).bootstrapFiles()
        let bootstrap = try #require(none[.bootstrap])
        let layout = try BootstrapLayout(bootstrap.rawSpan)
        #expect(layout.blobs.isEmpty)
    }

    @Test func whatCannotBeMergedIsNamed() throws {
        let directory = TemporaryDirectory()
        let layers = ConversionTests.layers()
        let (image, report) = try Self.converted(layers, in: "\(directory.path)/image")
        let many = #expect(throws: ContentError.self) {
            _ = try LayerPrefix(of: image, layers: 4)
        }
        #expect(many?.kind == .notFound)
        #expect(many?.message.hasSuffix("it has 3 layers, not 4") == true)
        let source = OCILayout(directory: "\(directory.path)/image-source", tag: "source")
        let original = #expect(throws: ContentError.self) {
            _ = try LayerPrefix(of: source, layers: 1)
        }
        #expect(original?.kind == .unsupported)
        // In the table of contents of the middle one, the digest of its last part, the bootstrap.
        let blob = report.layers[1].blob.digest
        let path = "image/blobs/sha256/\(blob.hex)"
        var bytes = directory.read(path)
        bytes[bytes.count - 512 - 128 + 24] ^= 1
        directory.write(path, bytes)
        let damaged = #expect(throws: ContentError.self) {
            _ = try LayerPrefix(of: image, layers: 2)
        }
        #expect(damaged?.message.hasPrefix("blob \(blob): ") == true, "\(damaged?.message ?? "")")
    }

    @Test func theLimitsHoldForTheMergedTree() throws {
        let directory = TemporaryDirectory()
        let (image, _) = try Self.converted(
            ConversionTests.layers(),
            in: "\(directory.path)/image"
        )
        let error = #expect(throws: ContentError.self) {
            _ = try LayerPrefix(
                of: image,
                layers: 2,
                limits: .init(entries: 6, depth: 10, metadataBytes: 1 << 20)
            )
        }
        #expect(error?.kind == .limitExceeded)
    }
}
