// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Glibc
import RAFS
import TestSupport

/// What fuzzing starts from: small inputs of each kind, made by this repository's own writers.
enum Seeds {
    /// A bootstrap of every type of file: also what `inodes` changes.
    static let bootstrap: [UInt8] = {
        let image = (try? ImageText(text).bootstrap()) ?? []
        require(!image.isEmpty && image.count < 1 << 16, "an image of \(image.count) bytes")
        return image
    }()

    /// Writes every seed into the folder of its target below the folder, which all exist.
    ///
    /// - Returns: whether all could be made and written.
    static func write(to folder: String) -> Bool {
        var isWritten = true
        for (target, inputs) in all() {
            guard !inputs.isEmpty else { return false }
            for (number, input) in inputs.enumerated() {
                let path = "\(folder)/\(target.rawValue)/seed-\(number)"
                isWritten = write(input, to: path) && isWritten
            }
        }
        return isWritten
    }

    private static func write(_ bytes: [UInt8], to path: String) -> Bool {
        guard let file = unsafe fopen(path, "wb") else { return false }
        let count = unsafe fwrite(bytes, 1, bytes.count, file)
        return unsafe fclose(file) == 0 && count == bytes.count
    }

    private static func all() -> [(Target, [[UInt8]])] {
        [
            (.tar, archives()),
            (.layer, layers()),
            (.inflate, streams()),
            (.deflate, programs()),
            (.spans, spans()),
            (.bootstrap, [bootstrap]),
            (
                .inodes,
                [[0, 0x20, 3, 1, 2, 3, 4], [0x10, 0x21, 0, 0xff, 0x20, 0x20, 1, 0xff, 0xff]]
            ),
            (.blob, blobs()),
        ]
    }

    private static func archives() -> [[UInt8]] {
        let content = Array("content".utf8)
        let xattrs = TarBlocks.pax([
            ("SCHILY.xattr.user.k", "v"), ("path", "d/long"), ("mtime", "-1.25"), ("uid", "70000"),
            ("size", "7"), ("linkpath", "f"),
        ])
        let global = TarBlocks.pax(type: "g", [("comment", "c"), ("gid", "5")])
        let device = TarBlocks.header("null", type: "3") { block in
            TarBlocks.set(&block, 329, "0000001\u{0}0000003\u{0}")
        }
        let prefixed = TarBlocks.header("name") { TarBlocks.set(&$0, 345, "a/prefix") }
        let large = TarBlocks.header("large") {
            $0.replaceSubrange(108..<112, with: [0x80, 0, 0, 1])
        }
        let parts: [[UInt8]] = [
            TarBlocks.header("d/", type: "5"),
            TarBlocks.file("d/f", content),
            TarBlocks.header("d/link", type: "2") { TarBlocks.set(&$0, 157, "../d/f") },
            TarBlocks.header("again", type: "1") { TarBlocks.set(&$0, 157, "d/f") },
            device,
            TarBlocks.header("d/.wh.gone"),
            xattrs + TarBlocks.file("short", content),
            global + TarBlocks.file("short", content),
            TarBlocks.long("L", "a/very/long/name") + TarBlocks.file("short", content),
            TarBlocks.long("K", "target") + TarBlocks.header("l", type: "2"),
            prefixed,
            large,
            TarBlocks.header("label", type: "V", magic: "ustar  \u{0}"),
            TarBlocks.header("fifo", type: "6", magic: ""),
        ]
        return parts.map { $0 + TarBlocks.end } + [parts.flatMap { $0 } + TarBlocks.end]
    }

    private static func layers() -> [[UInt8]] {
        let text = lines(20)
        guard let gzip = try? GzipEncoder.compress(text), let empty = try? GzipEncoder.compress([]),
            let zstd = try? ZstdBuffer.compress(text)
        else { return [] }
        let skippable: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]
        return [
            gzip, zstd, gzip + gzip, gzip + [UInt8](repeating: 0, count: 600), empty + gzip,
            skippable + zstd, zstd + skippable + zstd, gzip + [1], zstd + [1], text,
        ].map { [5, 1] + $0 }
    }

    private static func streams() -> [[UInt8]] {
        let text = lines(40)
        var seeds: [[UInt8]] = []
        for level: Int32 in [0, 1, 6, 9] {
            for strategy: Int32 in 0..<5 {
                var parameters = Zlib.Parameters()
                parameters.level = level
                parameters.strategy = strategy
                parameters.flush = 2
                parameters.pieceSize = 700
                seeds.append([0, UInt8(level), 1] + Zlib.deflate(text, .none, parameters))
            }
        }
        let member = Zlib.deflate(text, .gzip)
        seeds.append([1, 2, 3] + member)
        seeds.append([1, 2, 3] + member + member + [0, 0])
        return seeds
    }

    private static func programs() -> [[UInt8]] {
        let program: [UInt8] = [
            1 + 6 * 20, 0, 0, 5, 200, 7, 0x61, 3, 0, 9, 4, 0, 255, 2, 100, 100, 5, 90, 90, 3, 20,
            20,
            5, 250, 250, 11, 80, 81, 4, 7, 99,
        ]
        return (0..<20).map { number in
            let number = UInt8(number)
            return [number / 2, number, 8 - number % 9, number, number * 5, 1, number, number]
                + program
        }
    }

    /// A whole stream from its start, and programs that make gzip files.
    private static func spans() -> [[UInt8]] {
        let text = lines(40)
        let head: [UInt8] = [0, 0, 0, 0, 0, UInt8(text.count >> 8), UInt8(text.count & 0xFF)]
        return [head + Zlib.deflate(text)] + programs().map { [1] + $0 }
    }

    private static func blobs() -> [[UInt8]] {
        var writer = BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .zstd)
        let chunk = [UInt8](repeating: 7, count: 20)
        do throws(ContentError) {
            for size: UInt32 in [4096, 20, 100] {
                _ = try writer.append(
                    stored: chunk.rawSpan,
                    digest: StreamingDigest.digest(of: chunk),
                    contentSize: size
                )
            }
            _ = try writer.finishChunks()
            let table = writer.chunkInfoFile
            let firstChunk = writer.chunks[0]
            let blob = try writer.finish(bootstrap: [UInt8](repeating: 1, count: 64)).bytes
            // The second version of chunk infos, which this writer does not write.
            var second = table
            second[second.count - 4096 + 4] |= 4
            let span = SpanRecord(
                compressed: (CompressedOffset(10), 500),
                uncompressed: (UncompressedOffset(0), 9000),
                window: (0, 32 << 10),
                byte: 0x61,
                bitCount: 5
            )
            var inSpan = firstChunk
            inSpan.batch = BatchPlace(offset: 512, size: 9000, checkpoint: 0)
            (inSpan.compressedOffset, inSpan.compressedSize) = (CompressedOffset(10), 500)
            let spans = try MetadataBlobWriter(
                LayerChunks(
                    chunks: [inSpan],
                    spans: [span],
                    windows: [UInt8](repeating: 1, count: 32 << 10)
                )
            )
            let parts = BlobParts(MemoryBlob(spans.bytes))
            let third = try parts.chunkInfoFile(at: spans.location)
            return [blob, Array(blob.suffix(4096)), table, second, spans.bytes, third]
        } catch {
            return []
        }
    }

    private static let text = """
        rafs-v6 chunk-size=4096 flags=0x10001b8
        blob 0 id=\(String(repeating: "ab", count: 32)) chunks=3 compressed=7000 \
        uncompressed=12288 compressor=zstd digester=sha256 features=0x70000021 \
        info=none:5000+48:48
        chunk 0:0 digest=\(String(repeating: "01", count: 32)) stored=0+4096 content=0+4096 \
        file-offset=0
        chunk 0:1 digest=\(String(repeating: "03", count: 32)) stored=4096+4096 \
        content=4096+4096 file-offset=4096
        chunk 0:2 digest=\(String(repeating: "02", count: 32)) stored=8192+4096 \
        content=8192+4096 file-offset=0
        prefetch /usr/file
        / directory 0755 0:0 0.000000000
        /!fifo fifo 0600 1:2 -5.000000001
        /dev directory 1777 0:0 1700000000.999999999 xattr=user.k,v\\x00w
        /dev/null characterDevice 0666 0:0 1.000000000 device=1:3
        /dev/sda blockDevice 0660 0:6 1.000000000 device=8:70000
        /link symlink 0777 4000000000:0 1.000000000 target=usr/file
        /long symlink 0777 0:0 1.000000000 target=\(String(repeating: "t", count: 4090))
        /many directory 0755 0:0 1.000000000
        /usr directory 0755 0:0 4294967297.000000000
        /usr/empty regular 0644 0:0 1.000000000 size=0
        /usr/file regular 4755 0:0 1.000000000 size=8192 chunks=0:0,0:1 \
        xattr=security.capability,\\x01\\x00 xattr=system.posix_acl_access,\\x02
        /usr/small regular 0644 0:0 1.000000000 size=4096 chunks=0:2

        """
        + (0..<40).map {
            "/many/n\(1000 + $0)\(String(repeating: "x", count: 190)) hardlink to=/usr/small\n"
        }.joined()
}
