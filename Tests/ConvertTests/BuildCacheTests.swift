// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Convert
import Distribution
import Glibc
import Linux
import OCI
import RAFS
import TestSupport
import Testing

@Suite("Layers converted before")
struct BuildCacheTests: ~Copyable {
    private static let usual = ConversionOptions(threads: 2, chunkSize: 1 << 16)
    private let directory = TemporaryDirectory()

    /// Layers of which nothing is to be warned.
    private static func layers() -> [[UInt8]] {
        var generator = SeededGenerator(seed: 4)
        let random = generator.bytes(400_000)
        return [
            TarBlocks.file("a", lines(20_000)) + TarBlocks.file("r", random),
            TarBlocks.file("b", random) + TarBlocks.file(".wh.a", []),
            TarBlocks.header("d/empty", type: "5"),
            TarBlocks.file("c", lines(30_000)) + TarBlocks.file("r2", random),
        ].map { $0 + TarBlocks.end }
    }

    private func source(_ layers: [[UInt8]], _ name: String) throws -> OCILayout {
        let layout = OCILayout(directory: "\(directory.path)/\(name)", tag: nil)
        try ConversionTests.store(layers, in: layout)
        return layout
    }

    private func convert(
        _ source: OCILayout,
        to name: String,
        _ options: ConversionOptions = usual,
        cachedIn cache: String? = nil
    ) throws -> ConversionReport {
        var options = options
        let cached = cache.map { OCILayout(directory: "\(directory.path)/\($0)", tag: "converted") }
        options.cache = try BuildCache(cached.map { [$0] } ?? [], target: nil)
        return try ConversionTests.convert(
            source,
            to: "\(directory.path)/\(name)",
            options: options
        )
    }

    @Test func areTakenAsTheyAreAndGiveTheSameImage() throws {
        let layers = Self.layers()
        let first = try convert(source(Array(layers.prefix(3)), "three"), to: "old")
        #expect(first.layers.allSatisfy { !$0.isReused })
        let four = try source(layers, "four")
        let whole = try convert(four, to: "whole")
        let again = try convert(four, to: "again", cachedIn: "old")
        #expect(again.layers.map(\.isReused) == [true, true, true, false])
        #expect(again.manifest.digest == whole.manifest.digest)
        #expect(again.bootstrap.digest == whole.bootstrap.digest)
        // The source's blobs of reused layers are not even opened.
        let blobs = "\(directory.path)/four/blobs/sha256"
        for layer in again.layers where layer.isReused {
            try FileSystem.removeFile("\(blobs)/\(layer.source.digest.hex)")
        }
        let third = try convert(four, to: "third", cachedIn: "again")
        #expect(third.layers.map(\.isReused) == [true, true, true, true])
        #expect(third.manifest.digest == whole.manifest.digest)
    }

    @Test func theTargetItselfIsLookedAt() throws {
        let source = try source(Self.layers(), "source")
        let first = try convert(source, to: "target")
        var options = Self.usual
        let target = OCILayout(directory: "\(directory.path)/target", tag: "converted")
        options.cache = try BuildCache([], target: target)
        let again = try ConversionTests.convert(source, to: target.directory, options: options)
        #expect(again.layers.map(\.isReused) == [true, true, true, true])
        #expect(again.manifest.digest == first.manifest.digest)
    }

    @Test func prefetchListsAreOptionsLikeOthers() throws {
        let source = try source(Self.layers(), "source")
        var options = Self.usual
        options.workDirectory = directory.path
        options.prefetch = try PrefetchList(parsing: Array("/r2\n/b\n".utf8), document: "list")
        let whole = try convert(source, to: "whole", options)
        let again = try convert(source, to: "again", options, cachedIn: "whole")
        #expect(!again.layers.contains { !$0.isReused })
        #expect(again.manifest.digest == whole.manifest.digest)
        options.prefetch = try PrefetchList(parsing: Array("/b\n/r2\n".utf8), document: "list")
        let other = try convert(source, to: "other", options, cachedIn: "whole")
        #expect(other.layers.allSatisfy { !$0.isReused })
    }

    @Test(arguments: [(UInt32(1 << 17), Int32(3)), (1 << 16, 4)])
    func otherOptionsAreAnotherConversion(chunkSize: UInt32, level: Int32) throws {
        let source = try source(Self.layers(), "source")
        _ = try convert(source, to: "old")
        let options = ConversionOptions(
            threads: 1,
            chunkSize: chunkSize,
            compressionLevel: level
        )
        let whole = try convert(source, to: "whole", options)
        let again = try convert(source, to: "again", options, cachedIn: "old")
        #expect(again.layers.allSatisfy { !$0.isReused })
        #expect(again.manifest.digest == whole.manifest.digest)
    }

    @Test func whatIsBrokenIsConvertedAgain() throws {
        let source = try source(Self.layers(), "source")
        let first = try convert(source, to: "old")
        let blobs = "\(directory.path)/old/blobs/sha256"
        // One is gone, of one the end is: the first of the others still is as it was.
        try FileSystem.removeFile("\(blobs)/\(first.layers[0].blob.digest.hex)")
        let cut = "\(blobs)/\(first.layers[1].blob.digest.hex)"
        let half = off_t(first.layers[1].blob.size / 2)
        let status = unsafe truncate(cut, half)
        #expect(status == 0)
        let again = try convert(source, to: "again", cachedIn: "old")
        #expect(again.layers.map(\.isReused) == [false, false, true, true])
        #expect(again.manifest.digest == first.manifest.digest)
    }

    @Test func layersWithWarningsAreConvertedEachTime() throws {
        let source = try source(ConversionTests.layers(), "source")
        let first = try convert(source, to: "old")
        #expect(!first.warnings.isEmpty)
        let again = try convert(source, to: "again", cachedIn: "old")
        #expect(again.layers.map(\.isReused) == [true, false, true])
        #expect(again.warnings == first.warnings)
        #expect(again.manifest.digest == first.manifest.digest)
    }

    @Test func anImageThatIsNotThereIsPassedOver() throws {
        let source = try source(Self.layers(), "source")
        let report = try convert(source, to: "target", cachedIn: "nowhere")
        #expect(report.layers.allSatisfy { !$0.isReused })
    }
}
