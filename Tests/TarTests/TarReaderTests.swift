// SPDX-License-Identifier: Apache-2.0

import Content
import Tar
import TestSupport
import Testing

/// All entries with their contents.
func entries(
    _ archive: [UInt8],
    piece: Int = 1 << 20
) throws(ContentError) -> [(entry: TarEntry, content: [UInt8])] {
    var reader = TarReader(TrickleStream(archive, piece: piece))
    var result: [(entry: TarEntry, content: [UInt8])] = []
    while let entry = try reader.next() {
        var content: [UInt8] = []
        var failure: ContentError?
        var buffer = [UInt8](repeating: 0, count: 1000)
        while failure == nil {
            let count = unsafe buffer.withUnsafeMutableBytes { bytes in
                do throws(ContentError) {
                    return try unsafe reader.readContent(into: bytes)
                } catch {
                    failure = error
                    return 0
                }
            }
            if count == 0 { break }
            content += buffer[..<count]
        }
        if let failure { throw failure }
        result.append((entry, content))
    }
    try reader.finish()
    return result
}

/// The only entry.
func onlyEntry(_ archive: [UInt8]) throws -> TarEntry {
    let all = try entries(archive + TarBlocks.end)
    return try #require(all.count == 1 ? all.first?.entry : nil)
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite("Tar reader")
struct TarReaderTests {
    @Test(arguments: [1, 511, 513, 1 << 20])
    func readsEntriesAndContents(piece: Int) throws {
        let content = lines(100)
        let archive =
            TarBlocks.header("dir/", type: "5") + TarBlocks.file("dir/a", content)
            + TarBlocks.file("dir/empty", []) + TarBlocks.file("b", Array(content[..<512]))
            + TarBlocks.end
        let all = try entries(archive, piece: piece)
        #expect(all.map { text($0.entry.path) } == ["dir/", "dir/a", "dir/empty", "b"])
        #expect(all.map(\.entry.kind) == [.directory, .regular, .regular, .regular])
        #expect(all.map(\.content) == [[], content, [], Array(content[..<512])])
        #expect(all[1].entry.size == UInt64(content.count))
        #expect(
            all[1].entry.attributes
                == FileAttributes(
                    permissions: 0o644,
                    userID: 0o1750,
                    groupID: 0o1751,
                    modificationSeconds: 1_700_000_000
                )
        )
    }

    @Test func skipsContentThatIsNotRead() throws {
        var reader = TarReader(
            ArrayStream(TarBlocks.file("a", lines(30_000)) + TarBlocks.file("b", []))
        )
        #expect(try reader.next()?.path == Array("a".utf8))
        #expect(try reader.next()?.path == Array("b".utf8))
        #expect(try reader.next() == nil)
        #expect(try reader.next() == nil)
    }

    @Test(arguments: [
        ("0", TarEntry.Kind.regular), ("\u{0}", .regular), ("7", .regular), ("1", .hardLink),
        ("2", .symlink), ("3", .characterDevice), ("4", .blockDevice), ("5", .directory),
        ("6", .fifo),
    ])
    func knowsEveryType(type: String, kind: TarEntry.Kind) throws {
        let entry = try onlyEntry(
            TarBlocks.header("name", type: Character(type)) { block in
                TarBlocks.set(&block, 157, "target")
                TarBlocks.set(&block, 329, "0000010\u{0}0000021\u{0}")
            }
        )
        #expect(entry.kind == kind)
        #expect(text(entry.linkTarget) == "target")
        let isDevice = kind == .characterDevice || kind == .blockDevice
        #expect(entry.device == DeviceNumber(major: isDevice ? 8 : 0, minor: isDevice ? 17 : 0))
    }

    @Test func knowsOldDirectoriesByTheirSlash() throws {
        #expect(
            try onlyEntry(TarBlocks.header("dir/", type: "\u{0}", magic: "")).kind == .directory
        )
    }

    @Test func onlyRegularFilesHaveContent() throws {
        // Old archives give hard links the size of their file, without its content.
        let archive = TarBlocks.header("link", type: "1", size: 5000) + TarBlocks.file("b", [7])
        let all = try entries(archive + TarBlocks.end)
        #expect(all.map(\.entry.size) == [0, 1])
    }

    @Test func joinsPrefixAndName() throws {
        let entry = try onlyEntry(
            TarBlocks.header("name") { TarBlocks.set(&$0, 345, "some/prefix") }
        )
        #expect(text(entry.path) == "some/prefix/name")
        let old = try onlyEntry(
            TarBlocks.header("name", magic: "") { TarBlocks.set(&$0, 345, "some/prefix") }
        )
        #expect(text(old.path) == "name")
        // Star's prefix is shorter: access and change time follow it.
        let star = try onlyEntry(
            TarBlocks.header("name") { block in
                TarBlocks.set(&block, 345, "prefix")
                TarBlocks.set(&block, 476, "14524770000 14524770000 ")
                TarBlocks.set(&block, 508, "tar\u{0}")
            }
        )
        #expect(text(star.path) == "prefix/name")
    }

    @Test func tellsTimesFromPrefixesInGNUHeaders() throws {
        let times = try onlyEntry(
            TarBlocks.header("name", magic: "ustar  \u{0}") {
                TarBlocks.set(&$0, 345, "14524770000\u{0}14524770000\u{0}")
            }
        )
        #expect(text(times.path) == "name")
        let prefix = try onlyEntry(
            TarBlocks.header("name", magic: "ustar  \u{0}") {
                TarBlocks.set(&$0, 345, "usr/share/doc")
            }
        )
        #expect(text(prefix.path) == "usr/share/doc/name")
    }

    @Test func takesNamesOfFullFieldsAndAnyBytes() throws {
        let name = String(repeating: "n", count: 100)
        #expect(text(try onlyEntry(TarBlocks.header(name)).path) == name)
        let raw = try onlyEntry(TarBlocks.header("x") { $0[0] = 0xff })
        #expect(raw.path == [0xff])
    }

    @Test func masksPermissions() throws {
        let entry = try onlyEntry(
            TarBlocks.header("a") { TarBlocks.set(&$0, 100, "0104755\u{0}") }
        )
        #expect(entry.attributes.permissions == 0o4755)
    }

    @Test func readsEmptyFieldsAsZero() throws {
        let entry = try onlyEntry(
            TarBlocks.header("a") { block in
                for index in 100..<148 { block[index] = 0 }
            }
        )
        #expect(entry.attributes == FileAttributes(permissions: 0))
        let blank = try onlyEntry(
            TarBlocks.header("a") { TarBlocks.set(&$0, 108, "   17 \u{0} ") }
        )
        #expect(blank.attributes.userID == 0o17)
    }

    @Test func readsBinaryNumbers() throws {
        let entry = try onlyEntry(
            TarBlocks.header("a") { block in
                block.replaceSubrange(108..<116, with: [0x80, 0, 0, 0, 0x12, 0x34, 0x56, 0x78])
                block.replaceSubrange(
                    136..<148,
                    with: [UInt8](repeating: 0xff, count: 11) + [0xfe]
                )
            }
        )
        #expect(entry.attributes.userID == 0x1234_5678)
        #expect(entry.attributes.modificationSeconds == -2)
    }

    @Test(arguments: [
        // A size beyond 63 bits, a negative size, a user id beyond 32 bits.
        (124, [UInt8](repeating: 0x80, count: 12)),
        (124, [UInt8](repeating: 0xff, count: 12)),
        (108, [0x80, 0, 0, 1, 0, 0, 0, 0]),
        (108, Array("00x1750\u{0}".utf8)),
        (108, Array("12 34  \u{0}".utf8)),
        (136, Array("99999999999\u{0}".utf8)),
    ])
    func refusesNumbersOutOfRange(offset: Int, field: [UInt8]) {
        #expect(throws: ContentError.self) {
            try onlyEntry(
                TarBlocks.header("a") {
                    $0.replaceSubrange(offset..<offset + field.count, with: field)
                }
            )
        }
    }

    @Test func acceptsSignedChecksums() throws {
        var block = TarBlocks.header("\u{e9}\u{e9}\u{e9}")
        TarBlocks.set(&block, 148, "        ")
        let sum = block.reduce(0) { $0 + Int(Int8(bitPattern: $1)) }
        TarBlocks.set(&block, 148, "0" + String(sum, radix: 8) + "\u{0}")
        #expect(text(try onlyEntry(block).path) == "\u{e9}\u{e9}\u{e9}")
    }

    @Test func refusesHeaderWithBadChecksum() {
        var block = TarBlocks.header("a")
        block[0] = UInt8(ascii: "b")
        let error = #expect(throws: ContentError.self) {
            try entries(TarBlocks.file("x", [1]) + block)
        }
        #expect(error?.kind == .corrupt)
        #expect(error?.message.hasPrefix("offset 1024: tar header has checksum") == true)
    }

    @Test(arguments: ["S", "M", "D", "A", "X", "\u{ff}"])
    func refusesUnknownTypesByName(type: String) throws {
        let byte = try #require(type.unicodeScalars.first.map { UInt8($0.value) })
        let error = #expect(throws: ContentError.self) {
            try onlyEntry(TarBlocks.header("some/name") { $0[156] = byte })
        }
        #expect(error?.kind == .unsupported)
        #expect(error?.message.contains("some/name") == true)
    }

    @Test func skipsVolumeLabels() throws {
        let archive = TarBlocks.header("label", type: "V") + TarBlocks.file("a", [1])
        #expect(text(try onlyEntry(archive).path) == "a")
    }

    @Test func endsWithTheSourceOrTwoBlocksOfZeros() throws {
        let file = TarBlocks.file("a", [1])
        for end in [0, 512, 1024, 10_240] {
            #expect(try entries(file + [UInt8](repeating: 0, count: end)).count == 1)
        }
        #expect(try entries(file + TarBlocks.end + lines(100)).count == 1)
        #expect(try entries([]).isEmpty)
        #expect(throws: ContentError.self) {
            try entries(file + [UInt8](repeating: 0, count: 512) + file)
        }
    }

    @Test func readsTheWholeSource() throws {
        let archive = TarBlocks.file("a", lines(99)) + TarBlocks.end + lines(30_000)
        var reader = TarReader(TrickleStream(archive, piece: 1000))
        _ = try reader.next()
        try reader.finish()
        #expect(reader.offset.bytes == UInt64(archive.count))
        #expect(try reader.next() == nil)
    }
}
