// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import Testing

@Suite("Image text")
struct ImageTextTests {
    private static let head =
        "rafs-v6 chunk-size=4096 flags=0x1000098\n/ directory 0755 0:0 0.000000000\n"
    private static let blob =
        "blob 0 id=\(String(repeating: "ab", count: 32)) chunks=2 compressed=7000"
        + " uncompressed=8192 compressor=zstd digester=sha256 features=0x1 info=none:5000+32:32\n"
    private static let digest = String(repeating: "01", count: 32)

    private static func bootstrap(_ lines: String) throws(ContentError) -> [UInt8] {
        try ImageText(head + blob + lines).bootstrap()
    }

    @Test func aTextOfItsOwnFormIsRead() throws {
        let image = try Self.bootstrap(
            "chunk 0:1 digest=\(Self.digest) stored=9+9 content=4096+4096 file-offset=0\n"
                + "/f regular 0644 1:2 -3.000000004 size=4096 chunks=0:1\n"
        )
        #expect(try Images.tree(of: image).nodeCount == 2)
    }

    @Test(
        arguments: [
            "/f nothing 0644 0:0 0.000000000", "/f regular", "/f", "f fifo 0644 0:0 0.0", "",
            "/f fifo 10000 0:0 0.000000000", "/f fifo 8 0:0 0.000000000", "/f fifo 644 0 0.0",
            "/f fifo 0644 4294967296:0 0.0", "/f fifo 0644 0:0 0", "/f fifo 0644 0:0 0.1000000000",
            "/f fifo 0644 0:0 9223372036854775808.0", "/a/f fifo 0644 0:0 0.0",
            "/ fifo 0644 0:0 0.0",
            "/ directory 0755 0:0 0.000000000", "/a/ fifo 0644 0:0 0.0", "// fifo 0644 0:0 0.0",
            "/. fifo 0644 0:0 0.0", "/.. fifo 0644 0:0 0.0", "/f hardlink to=/none",
            "/f hardlink to=/",
            "/f\\x00 fifo 0644 0:0 0.0", "/f\\q fifo 0644 0:0 0.0",
            "/\(String(repeating: "n", count: 256)) fifo 0644 0:0 0.0",
            "/f blockDevice 0644 0:0 0.0 device=4294967296:0",
            "/f blockDevice 0644 0:0 0.0 device=1",
            "/f regular 0644 0:0 0.0 size=1 chunks=65536:0",
            "/f regular 0644 0:0 0.0 size=1 chunks=0",
            "/f fifo 0644 0:0 0.0 xattr=user.a", "prefetch", "prefetch a b",
            "chunk 0:1 digest=01 stored=9+9 content=0+1",
            "chunk 0:1 digest=\(digest) stored=9 content=0+1",
            "blob 1 id=x chunks=4294967296", "rafs-v6 chunk-size=x flags=0",
            "rafs-v6 chunk-size=4096",
        ].filter { !$0.isEmpty }
    )
    func otherLinesAreNamed(_ line: String) {
        let error = #expect(throws: ContentError.self) { try Self.bootstrap(line + "\n") }
        #expect(error?.message == "line 4 cannot be read: \(line.prefix(120))")
    }

    @Test(arguments: [
        "/f fifo 0644 0:0 0.0\n/f fifo 0644 0:0 0.0",
        "/f fifo 0644 0:0 0.0\n/f/g fifo 0644 0:0 0.0",
        "/d directory 0755 0:0 0.0\n/d/e hardlink to=/d",
        "/d directory 0755 0:0 0.0\n/d hardlink to=/",
    ])
    func linesThatContradictAreNamed(_ lines: String) {
        let error = #expect(throws: ContentError.self) { try Self.bootstrap(lines) }
        #expect(error?.message.hasPrefix("line 5 cannot be read") == true)
    }

    @Test(arguments: [
        "chunk 0:1 digest=\(digest) stored=9+0 content=4096+4096",
        "chunk 0:1 digest=\(digest) stored=9+9 content=4097+4096",
        "chunk 0:1 digest=\(digest) stored=9+9 content=18446744073709547520+4096",
        "chunk 0:1 digest=\(digest) stored=18446744073709551615+9 content=0+4096",
        "chunk 0:1 digest=\(digest) stored=9+4294967295 content=0+4096",
    ])
    func chunksOutOfRangeAreNotWritten(_ line: String) {
        let error = #expect(throws: ContentError.self) {
            try Self.bootstrap("\(line)\n/f regular 0644 0:0 0.0 size=1 chunks=0:1\n")
        }
        #expect(error?.message == "/f: chunk 1 of blob 0 is not known")
    }

    @Test func numbersNoImageHasAreErrorsNotTraps() {
        let digest = Self.digest
        let file = "/f regular 0644 0:0 0.0 size=1 chunks=300:1\n"
        #expect(throws: ContentError.self) {
            try Self.bootstrap(
                "chunk 300:1 digest=\(digest) stored=9+9 content=0+1\n\(file)"
            )
        }
        for size in ["0", "1", "4097", "4294967295"] {
            #expect(throws: ContentError.self) {
                try ImageText(Self.head.replacing("=4096", with: "=\(size)")).bootstrap()
            }
        }
        for change in [
            ("uncompressed=8192", "uncompressed=18446744073709547520"),
            ("compressed=7000", "compressed=18446744073709551615"),
            ("chunks=2", "chunks=4294967295"), ("5000+32:32", "18446744073709551615+1:1"),
        ] {
            let text = Self.head + Self.blob.replacing(change.0, with: change.1)
            #expect(throws: ContentError.self) { try ImageText(text).bootstrap() }
        }
        #expect(throws: ContentError.self) { try ImageText(Self.head + "prefetch /none\n") }
    }
}
