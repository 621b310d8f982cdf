// SPDX-License-Identifier: Apache-2.0

import Content
import Tar
import TestSupport
import Testing

@Suite("Tar extensions")
struct TarExtensionTests {
    @Test func paxRecordsReplaceFields() throws {
        let path = "long/" + String(repeating: "\u{fc}", count: 300)
        let entry = try onlyEntry(
            TarBlocks.pax([
                ("path", path), ("linkpath", "else/where"), ("uid", "4294967295"),
                ("gid", "3000000"),
                ("mtime", "1234567890.123456789123"), ("comment", "no matter"), ("size", "0"),
            ]) + TarBlocks.header("short", type: "2")
        )
        #expect(text(entry.path) == path)
        #expect(text(entry.linkTarget) == "else/where")
        #expect(entry.attributes.userID == 4_294_967_295)
        #expect(entry.attributes.groupID == 3_000_000)
        #expect(entry.attributes.modificationSeconds == 1_234_567_890)
        #expect(entry.attributes.modificationNanoseconds == 123_456_789)
    }

    @Test func paxSizeCountsMoreThanTheHeaders() throws {
        let content = lines(20)
        let archive =
            TarBlocks.pax([("size", "\(content.count)")]) + TarBlocks.header("a", size: 0)
            + TarBlocks.padded(content) + TarBlocks.file("b", [])
        let all = try entries(archive)
        #expect(all.map(\.content) == [content, []])
    }

    @Test(arguments: [
        ("0", Int64(0), UInt32(0)), ("12.5", 12, 500_000_000), ("-1.5", -2, 500_000_000),
        ("-0.000000001", -1, 999_999_999), ("-7", -7, 0), ("3.", 3, 0), ("-3.0", -3, 0),
        ("9223372036854775807.9", .max, 900_000_000),
    ])
    func readsTimes(value: String, seconds: Int64, nanoseconds: UInt32) throws {
        let entry = try onlyEntry(TarBlocks.pax([("mtime", value)]) + TarBlocks.header("a"))
        #expect(entry.attributes.modificationSeconds == seconds)
        #expect(entry.attributes.modificationNanoseconds == nanoseconds)
    }

    @Test(arguments: [
        ("mtime", "1e5"), ("mtime", "-"), ("mtime", ".5"), ("mtime", "9223372036854775808"),
        ("mtime", "1.2.3"), ("uid", "-1"), ("uid", "4294967296"), ("gid", "0x1"),
        ("size", "18446744073709551615"), ("size", "99999999999999999999"), ("path", "a\u{0}b"),
        ("GNU.sparse.major", "1"), ("GNU.sparse.map", "0,1"), ("SCHILY.xattr.", "value"),
    ])
    func refusesBadValues(key: String, value: String) {
        let error = #expect(throws: ContentError.self) {
            try onlyEntry(TarBlocks.pax([(key, value)]) + TarBlocks.header("its/name"))
        }
        #expect(error?.message.contains("its/name") == true)
    }

    @Test func keepsExtendedAttributesSortedWithAnyBytes() throws {
        let value: [UInt8] = [1, 0, 0, 2, 10, 61, 10, 0xff]
        let records =
            TarBlocks.paxRecord("SCHILY.xattr.user.b", [1])
            + TarBlocks.paxRecord("SCHILY.xattr.security.capability", value)
            + TarBlocks.paxRecord("SCHILY.xattr.user.b", [2])
            + TarBlocks.paxRecord("SCHILY.xattr.user.a", [])
        let entry = try onlyEntry(
            TarBlocks.header("pax", type: "x", size: records.count) + TarBlocks.padded(records)
                + TarBlocks.header("a")
        )
        #expect(entry.xattrs.map { text($0.name) } == ["security.capability", "user.a", "user.b"])
        #expect(entry.xattrs.map(\.value) == [value, [], [2]])
    }

    @Test func globalRecordsHoldUntilReplaced() throws {
        let archive =
            TarBlocks.pax(type: "g", [("uid", "7"), ("mtime", "5.25")]) + TarBlocks.file("a", [])
            + TarBlocks.pax([("uid", "8"), ("mtime", "")]) + TarBlocks.file("b", [])
            + TarBlocks.pax(type: "g", [("uid", "9")]) + TarBlocks.file("c", [])
        let all = try entries(archive).map(\.entry)
        #expect(all.map(\.attributes.userID) == [7, 8, 9])
        #expect(all.map(\.attributes.modificationSeconds) == [5, 1_700_000_000, 5])
    }

    /// They were kept once, and looked through for every entry after them.
    @Test func globalRecordsWithoutMeaningAreNotKept() throws {
        let many = (0..<60_000).map { ("k\($0)", "") }
        let archive = TarBlocks.pax(type: "g", many + [("uid", "7")])
        let others = TarBlocks.pax(type: "g", (60_000..<120_000).map { ("k\($0)", "") })
        let all = try entries(archive + others + TarBlocks.file("a", [])).map(\.entry)
        #expect(all.map(\.attributes.userID) == [7])
    }

    @Test func globalRecordsHaveALimit() throws {
        let half = String(repeating: "v", count: 600_000)
        let archive =
            TarBlocks.pax(type: "g", [("SCHILY.xattr.user.a", half)])
            + TarBlocks.pax(type: "g", [("SCHILY.xattr.user.a", half)])
        #expect(try entries(archive + TarBlocks.file("a", [])).count == 1)
        let over = archive + TarBlocks.pax(type: "g", [("SCHILY.xattr.user.b", half)])
        #expect { try entries(over + TarBlocks.file("a", [])) } throws: { error in
            (error as? ContentError)?.kind == .limitExceeded
        }
    }

    @Test func gnuLongNamesCountMost() throws {
        let name = String(repeating: "n", count: 5000)
        let link = String(repeating: "l", count: 700)
        let entry = try onlyEntry(
            TarBlocks.long("L", name) + TarBlocks.long("K", link)
                + TarBlocks.pax([("path", "other")]) + TarBlocks.header("cut", type: "2")
        )
        #expect(text(entry.path) == name)
        #expect(text(entry.linkTarget) == link)
    }

    @Test(arguments: [
        "5 a=b\n", "7 a=b\n", "0 a=b\n", "-6 a=b\n", " a=b\n", "6 a=b",
        "99999999999999999999 a=b\n",
        "5 a\n", "4 =\n", "6 =bc\n", "x", "6a=bcd\n",
    ])
    func refusesMalformedRecords(text: String) {
        let data = Array(text.utf8)
        #expect(throws: ContentError.self) {
            try onlyEntry(
                TarBlocks.header("pax", type: "x", size: data.count) + TarBlocks.padded(data)
                    + TarBlocks.header("a")
            )
        }
    }

    @Test(arguments: ["x", "g", "L", "K"])
    func limitsHeaders(type: Character) {
        let error = #expect(throws: ContentError.self) {
            try onlyEntry(TarBlocks.header("big", type: type, size: 1 << 20 + 1))
        }
        #expect(error?.kind == .limitExceeded)
    }

    @Test func refusesHeadersWithoutEntry() {
        for header in [TarBlocks.pax([("uid", "1")]), TarBlocks.long("L", "name")] {
            #expect(throws: ContentError.self) { try entries(header) }
            #expect(throws: ContentError.self) { try entries(header + TarBlocks.end) }
        }
    }
}

@Suite("Tar with hostile input")
struct HostileTarTests {
    private var archive: [UInt8] {
        TarBlocks.pax([("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")])
            + TarBlocks.file("file", lines(20)) + TarBlocks.long("L", "longer/name")
            + TarBlocks.header("link", type: "2") + TarBlocks.header("dir", type: "5")
            + TarBlocks.end
    }

    @Test func truncationInsideAnEntryIsAnError() throws {
        let whole = archive
        let content = lines(20).count
        // Whole headers may be missing at the end: that is an archive without end blocks.
        let start = 512 * 3
        for length in start + 1..<start + content {
            let error = #expect(throws: ContentError.self) { try entries(Array(whole[..<length])) }
            #expect(error?.kind == .truncated, "at length \(length)")
        }
        for length in 0...whole.count {
            _ = try? entries(Array(whole[..<length]))
        }
    }

    @Test func endsOnFlippedBits() {
        for flipped in bitFlips(of: archive, every: 13) { _ = try? entries(flipped) }
    }

    @Test func endsOnEveryByteInAHeaderWithARightChecksum() {
        let block = TarBlocks.header("name", size: 3)
        for index in block.indices {
            for value in [UInt8(0), 0x20, 0x2f, 0x37, 0x38, 0x7f, 0x80, 0xbf, 0xff] {
                var changed = block
                changed[index] = value
                _ = try? entries(
                    TarBlocks.checksummed(changed) + TarBlocks.padded([1, 2, 3]) + TarBlocks.end
                )
            }
        }
    }

    @Test func endsOnRandomRecords() {
        var generator = SeededGenerator(seed: 4)
        let alphabet = Array("0123456789 =\npathmtimesizeGNU.sparse.-".utf8) + [0, 0xff]
        for _ in 0..<2000 {
            let data = (0..<Int.random(in: 1...40, using: &generator)).compactMap { _ in
                alphabet.randomElement(using: &generator)
            }
            _ = try? entries(
                TarBlocks.header("pax", type: "x", size: data.count) + TarBlocks.padded(data)
                    + TarBlocks.file("a", [1])
            )
        }
    }
}
