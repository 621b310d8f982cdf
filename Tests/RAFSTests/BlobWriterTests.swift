// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import TestSupport
import Testing

@testable import RAFS

@Suite("Blob writer and table of contents")
struct BlobWriterTests {
    /// A blob of some chunks, stored as they are.
    private static func blob(
        _ contents: [[UInt8]],
        bootstrap: [UInt8] = lines(500)
    ) throws -> (bytes: [UInt8], entry: BlobTableEntry?, infoFile: [UInt8], chunks: [Chunk]) {
        var writer = BlobWriter(to: ArraySink(), chunkSize: 4096, compressor: .zstd)
        for content in contents {
            _ = try writer.append(
                stored: content.rawSpan,
                digest: StreamingDigest.digest(of: content),
                contentSize: UInt32(content.count)
            )
        }
        let entry = try writer.finishChunks()
        let (infoFile, chunks) = (writer.chunkInfoFile, writer.chunks)
        return (try writer.finish(bootstrap: bootstrap).bytes, entry, infoFile, chunks)
    }

    private static func toc(_ blob: [UInt8]) throws(ContentError) -> BlobTOC {
        let tail = Array(blob.suffix(BlobTOC.maximumTailSize))
        return try BlobTOC(tail: tail.rawSpan, blobSize: UInt64(blob.count))
    }

    @Test func partsAreWhereTheTableSays() throws {
        let contents = [lines(10), lines(3), [1], lines(70)]
        let (blob, entry, infoFile, chunks) = try Self.blob(contents)
        let toc = try Self.toc(blob)
        #expect(
            toc.entries.map(\.name)
                == ["image.blob", "blob.meta", "blob.meta.header", "blob.digest", "image.boot"]
        )
        for part in toc.entries.dropFirst() {
            let stored = Array(blob[Int(part.offset)..<Int(part.offset + part.compressedSize)])
            let content = try part.compressor.decompress(
                stored.rawSpan,
                expectedSize: Int(part.uncompressedSize),
                limit: 1 << 20
            )
            #expect(StreamingDigest.digest(of: content) == part.digest)
            switch part.name {
            case "blob.digest": #expect(content == chunks.flatMap { $0.digest.bytes })
            case "image.boot": #expect(content == lines(500))
            case "blob.meta": #expect(content == Array(infoFile[..<64]))
            default: #expect(content == Array(infoFile.suffix(4096)))
            }
        }
        let info = try #require(toc.entry(named: "blob.meta"))
        #expect(entry?.chunkInfo.offset == info.offset)
        #expect(entry?.chunkInfo.compressedSize == info.compressedSize)
        #expect(entry?.chunkInfo.uncompressedSize == 64)
        #expect(entry?.chunkCount == 4)
        #expect(entry?.uncompressedSize == 4 * 4096)
        #expect(entry?.id == BlobTableEntry.placeholderID)
        let table = try ChunkInfoTable(file: infoFile.rawSpan)
        #expect(table.location == entry?.chunkInfo)
        for (index, content) in contents.enumerated() {
            let start = Int(chunks[index].compressedOffset.bytes)
            #expect(Array(blob[start..<start + content.count]) == content)
            #expect(chunks[index].uncompressedOffset.bytes == UInt64(index) * 4096)
        }
    }

    @Test func aLayerWithoutContentHasNoChunkParts() throws {
        let (blob, entry, infoFile, _) = try Self.blob([])
        #expect(entry == nil)
        #expect(infoFile.isEmpty)
        #expect(try Self.toc(blob).entries.map(\.name) == ["image.boot"])
    }

    @Test func hostileTailsAreErrors() throws {
        let blob = try Self.blob([lines(10)]).bytes
        #expect(throws: ContentError.self) { try Self.toc([]) }
        for count in stride(from: blob.count - 1, to: 0, by: -127) {
            #expect(throws: ContentError.self) { try Self.toc(Array(blob[..<count])) }
        }
        // Every bit of table and header: an error, or a table whose parts lie in the blob.
        let start = blob.count - 512 - 5 * 128
        for index in start..<blob.count {
            for bit in 0..<8 {
                var broken = blob
                broken[index] ^= 1 << UInt8(bit)
                guard let toc = try? Self.toc(broken) else { continue }
                for part in toc.entries where part.name != "image.blob" {
                    #expect(part.offset + part.compressedSize <= UInt64(blob.count))
                }
            }
        }
    }

    @Test func tailsThatAreNoTablesAreNamed() throws {
        let size: UInt64 = 1 << 50
        let header = BlobTarHeader.encode(name: "image.boot", size: 0)
        let error = #expect(throws: ContentError.self) {
            try BlobTOC(tail: header.rawSpan, blobSize: 512)
        }
        #expect(
            error?.message == "blob: it does not end in a table of contents, but in \"image.boot\""
        )
        for tableSize in [1, 127, 128, 512, size] {
            let header = BlobTarHeader.encode(name: "rafs.blob.toc", size: tableSize)
            #expect(throws: ContentError.self) {
                try BlobTOC(tail: header.rawSpan, blobSize: 1 << 60)
            }
        }
        let empty = BlobTarHeader.encode(name: "rafs.blob.toc", size: 0)
        #expect(try BlobTOC(tail: empty.rawSpan, blobSize: 512).entries.isEmpty)
    }

    @Test(arguments: [0, 1, 511, 1 << 20, (1 << 33) - 1, 1 << 33, (1 << 40) - 1] as [UInt64])
    func tarHeadersTellEverySize(_ size: UInt64) throws {
        let header = BlobTarHeader.encode(name: "image.blob", size: size)
        #expect(header.count == 512)
        let field = header[124..<136]
        if size < 1 << 33 {
            #expect(String(decoding: field.dropLast(), as: UTF8.self) == octal(size, 11))
            #expect(field.last == 0)
            #expect(try BlobTarHeader.parse(header.rawSpan).size == size)
        } else {
            // GNU's base-256: the first bit, then the number, big-endian.
            #expect(field.first == 0x80)
            #expect(field.dropFirst().reduce(0) { $0 << 8 | UInt64($1) } == size)
        }
        #expect(header[136..<148] == ArraySlice(Array("00000000000\u{0}".utf8)))
        let sum = header.enumerated().reduce(0) { sum, byte in
            sum + ((148..<156).contains(byte.offset) ? 0x20 : Int(byte.element))
        }
        let recorded = String(decoding: header[148..<155], as: UTF8.self)
        #expect(Int(recorded, radix: 8) == sum)
    }

    private func octal(_ value: UInt64, _ width: Int) -> String {
        let digits = String(value, radix: 8)
        return String(repeating: "0", count: width - digits.count) + digits
    }

    @Test(
        .enabled(if: Fixtures.folder != nil, "\(Fixtures.reason)"),
        arguments: [
            (
                "nydus/toc/2fa78cad554b75ac91a4a125ed148d0ddeb25efa4aaa8bd80e5dc292690a4dca",
                "blob.meta"
            ),
            (
                "nydus/blobs/be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef",
                "blob.digest"
            ),
        ]
    )
    func readsTablesThatNydusWrote(_ name: String, _ part: String) throws {
        let blob = Fixtures.bytes(name)
        let toc = try Self.toc(blob)
        let entry = try #require(toc.entry(named: part))
        #expect(entry.compressedSize > 0)
    }
}
