// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Tar
import TestSupport
import Testing

@Suite("Sparse files in tar")
struct SparseFileTests {
    /// A file of 3 MiB with two islands of bytes, and one that is a hole from start to end.
    private static let script = """
        set -e; cd "$1"
        truncate -s 3145728 holes; printf island | dd of=holes bs=1 seek=700000 conv=notrunc
        head -c 300000 /dev/zero | tr '\\0' x | dd of=holes bs=65536 seek=20 conv=notrunc
        truncate -s 1000000 nothing; truncate -s 9000000 many; printf end > plain
        for i in $(seq 40); do
            printf "run $i" | dd of=many bs=1 seek=$((i * 200000)) conv=notrunc
        done
        """

    private static func shell(_ script: String, _ directory: String) -> Bool {
        let file = "\(directory)/script"
        guard let stream = unsafe fopen(file, "w") else { return false }
        _ = unsafe fputs(script, stream)
        _ = unsafe fclose(stream)
        defer { _ = unsafe remove(file) }
        return unsafe system("sh \(file) \(directory) >/dev/null 2>&1") == 0
    }

    @Test(arguments: [
        "tar --sparse --format=gnu", "tar --sparse --format=oldgnu",
        "tar --sparse --format=posix --sparse-version=0.0",
        "tar --sparse --format=posix --sparse-version=0.1",
        "tar --sparse --format=posix --sparse-version=1.0",
        "bsdtar --format=pax", "bsdtar --format=gnutar",
    ])
    func readsWhatOtherProgramsWrite(program: String) throws {
        guard Self.shell("command -v \(program.prefix { $0 != " " })", "/tmp") else { return }
        let directory = TemporaryDirectory()
        try #require(Self.shell(Self.script, directory.path))
        try #require(
            Self.shell(
                "cd \"$1\" && \(program) -cf archive holes nothing many plain",
                directory.path
            )
        )
        let archive = directory.read("archive")
        let all = try entries(archive, piece: 700)
        #expect(all.map { text($0.entry.path) } == ["holes", "nothing", "many", "plain"])
        for (entry, content) in all {
            let name = text(entry.path)
            #expect(content == directory.read(name), "\(name)")
            #expect(entry.size == UInt64(content.count), "\(name)")
        }
    }

    private func gnu(
        _ pairs: [(Int, Int)],
        size: Int,
        contentSize: Int,
        continues: Bool = false
    ) -> [UInt8] {
        TarBlocks.header("file", type: "S", size: size, magic: "ustar  \u{0}") { block in
            for (index, pair) in pairs.enumerated() {
                let offset = 386 + index * 24
                TarBlocks.set(&block, offset, Self.octal(pair.0))
                TarBlocks.set(&block, offset + 12, Self.octal(pair.1))
            }
            block[482] = continues ? 1 : 0
            TarBlocks.set(&block, 483, Self.octal(contentSize))
        }
    }

    private static func octal(_ value: Int) -> String {
        let digits = String(value, radix: 8)
        return String(repeating: "0", count: 11 - digits.count) + digits
    }

    private func records(_ records: [(String, String)], stored: [UInt8]) -> [UInt8] {
        TarBlocks.pax(records) + TarBlocks.file("GNUSparseFile.1/file", stored)
    }

    @Test func namesAndSizesComeFromTheRecords() throws {
        let first = records(
            [
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("path", "stand-in"),
                ("GNU.sparse.name", "its name"), ("GNU.sparse.realsize", "10"),
            ],
            stored: TarBlocks.padded(Array("1\n4\n3\n".utf8)) + [1, 2, 3]
        )
        let all = try entries(first + TarBlocks.file("next", [9]) + TarBlocks.end)
        #expect(all.map { text($0.entry.path) } == ["its name", "next"])
        #expect(all.map(\.content) == [[0, 0, 0, 0, 1, 2, 3, 0, 0, 0], [9]])
    }

    @Test func skipsContentNobodyReads() throws {
        let archive = gnu([(0, 3), (1 << 30, 0)], size: 3, contentSize: 1 << 30)
        var reader = TarReader(ArrayStream(archive + TarBlocks.padded([1, 2, 3]) + archive))
        #expect(try reader.next()?.size == 1 << 30)
        #expect(try reader.next()?.size == 1 << 30)
    }

    @Test(arguments: [
        // Overlapping, descending, beyond the end, of another sum, overflowing, too few blocks.
        "0,3,2,1", "4,1,0,3", "8,4", "0,3", "0,5", "18446744073709551615,4", "", "1", "a,4", "0,-4",
        "0,4,", ",", "99999999999999999999,4",
    ])
    func refusesMapsThatContradict(map: String) {
        let archive = records(
            [("GNU.sparse.size", "10"), ("GNU.sparse.map", map)],
            stored: [1, 2, 3, 4]
        )
        let error = #expect(throws: ContentError.self) { try entries(archive) }
        #expect(error?.kind == .corrupt)
    }

    @Test(arguments: [
        "2\n0\n4\n", "", "x\n", "\n", "1\n0\n", "1\n0\n5\n", "123456789012345678901\n",
        "18446744073709551615\n", "1048577\n",
    ])
    func refusesMapsInFrontOfTheContent(map: String) {
        let archive = records(
            [
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "10"),
            ],
            stored: TarBlocks.padded(Array(map.utf8)) + [1, 2, 3, 4]
        )
        #expect(throws: ContentError.self) { try entries(archive) }
    }

    @Test func refusesRecordsThatDoNotFit() {
        let size = ("GNU.sparse.size", "10")
        let pair = [("GNU.sparse.offset", "0"), ("GNU.sparse.numbytes", "1")]
        for wrong in [
            [size], pair, [size, pair[0]], [size, pair[1]], [size, pair[0], pair[0]],
            [size, ("GNU.sparse.offset", "0,1"), pair[1]],
            [size, ("GNU.sparse.major", "2"), ("GNU.sparse.map", "0,1")],
            [("GNU.sparse.size", "9223372036854775808"), ("GNU.sparse.map", "0,1")],
        ] {
            #expect(throws: ContentError.self) { try entries(records(wrong, stored: [1])) }
        }
        let link = TarBlocks.pax([size] + pair) + TarBlocks.header("link", type: "2")
        #expect(throws: ContentError.self) { try entries(link) }
    }

    @Test func refusesHeadersThatContradict() {
        let stored = TarBlocks.padded([1, 2, 3])
        for archive in [
            gnu([(0, 3)], size: 3, contentSize: 2) + stored,
            gnu([(0, 4)], size: 3, contentSize: 9) + stored,
            gnu([(0, 3)], size: 3, contentSize: 9, continues: true),
            TarBlocks.header("file", type: "S"),
        ] {
            #expect(throws: ContentError.self) { try entries(archive) }
        }
    }

    @Test func endsOnHostileMaps() {
        let text = records(
            [
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "9999"),
            ],
            stored: TarBlocks.padded(Array("2\n4\n3\n20\n1\n".utf8)) + [1, 2, 3, 4]
        )
        let header = gnu([(0, 3), (5, 1)], size: 4, contentSize: 9, continues: true)
        for archive in [text, header + [UInt8](repeating: 0, count: 512) + lines(1)] {
            for length in 0..<archive.count { _ = try? entries(Array(archive[..<length])) }
            for flipped in bitFlips(of: archive, every: 7) { _ = try? headers(flipped) }
            for index in 386..<512 {
                for value in [UInt8(0), 0x37, 0x80, 0xff] {
                    var changed = Array(archive)
                    changed[index] = value
                    changed.replaceSubrange(
                        0..<512,
                        with: TarBlocks.checksummed(Array(changed[..<512]))
                    )
                    _ = try? headers(changed)
                }
            }
        }
    }

    /// Reads all entries, not their contents, which maps can make very large.
    private func headers(_ archive: [UInt8]) throws(ContentError) {
        var reader = TarReader(ArrayStream(archive))
        while try reader.next() != nil {}
    }
}
