// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

/// A bootstrap's text.
func dump(_ bootstrap: [UInt8]) throws -> String {
    let bytes = unsafe bootstrap.span.bytes
    let view = Bootstrap(bytes: bytes, layout: try BootstrapLayout(bytes))
    let dump = try ImageDump(view)
    var text = ""
    dump.write { text += "\($0)\n" }
    return text
}

@Suite("Image dump")
struct ImageDumpTests {
    static let text = """
        rafs-v6 chunk-size=1048576 flags=0x10001b8
        blob 0 id=\(String(repeating: "ab", count: 32)) chunks=3 compressed=7000 \
        uncompressed=1056768 compressor=zstd digester=sha256 features=0x70000021 \
        info=none:5000+48:48
        chunk 0:0 digest=\(String(repeating: "01", count: 32)) stored=0+17 content=0+1048576 \
        file-offset=0
        chunk 0:1 digest=\(String(repeating: "03", count: 32)) stored=17+5 content=1048576+5 \
        file-offset=1048576
        chunk 0:2 digest=\(String(repeating: "02", count: 32)) stored=22+4 content=1052672+4 \
        file-offset=0
        prefetch /usr/a\\x20file
        / directory 0755 0:0 0.000000000
        /!x fifo 0600 1:2 -5.000000001
        /dev directory 1777 0:0 1700000000.999999999 xattr=user.k,v\\x00w
        /dev/null characterDevice 0666 0:0 1.000000000 device=1:3
        /dev/sda blockDevice 0660 0:6 1.000000000 device=8:70000
        /link symlink 0777 4000000000:0 1.000000000 target=usr/a\\x20file
        /usr directory 0755 0:0 4294967297.000000000
        /usr/a\\x20file regular 4755 0:0 1.000000000 size=1048581 chunks=0:0,0:1 \
        xattr=security.capability,\\x01\\x00 xattr=system.posix_acl_access,\\x02
        /usr/again hardlink to=/usr/a\\x20file
        /usr/empty regular 0644 0:0 1.000000000 size=0
        /usr/small regular 0644 0:0 1.000000000 size=4 chunks=0:2
        /usr/\\xff\\xfe regular 0000 0:0 1.000000000 size=4 chunks=0:2

        """

    @Test func textToImageToTextIsTheSame() throws {
        let image = try ImageText(Self.text).bootstrap()
        #expect(try dump(image) == Self.text)
        #expect(try ImageText(dump(image)).bootstrap() == image)
    }

    @Test func directoriesOfManyBlocksKeepEveryName() throws {
        var text = "rafs-v6 chunk-size=1048576 flags=0x1000198\n/ directory 0755 0:0 0.000000000\n"
        for index in 0..<3000 {
            text += "/n\(10000 + index)\(String(repeating: "x", count: index % 200))"
            text += " regular 0644 0:0 1.000000000 size=0\n"
        }
        let image = try ImageText(text).bootstrap()
        #expect(try dump(image) == text)
        let bytes = unsafe image.span.bytes
        let view = Bootstrap(bytes: bytes, layout: try BootstrapLayout(bytes))
        let root = try view.root()
        for index in 0..<3000 {
            let name = Array("n\(10000 + index)\(String(repeating: "x", count: index % 200))".utf8)
            #expect(try view.lookup(unsafe name.span.bytes, in: root) != nil)
            let absent = name + [0x21]
            #expect(try view.lookup(unsafe absent.span.bytes, in: root) == nil)
        }
        for absent in ["", "!", "a", "n", "o", "~"] {
            let name = Array(absent.utf8)
            #expect(try view.lookup(unsafe name.span.bytes, in: root) == nil)
        }
    }

    @Test(
        .enabled(if: Fixtures.folder != nil, "\(Fixtures.reason)"),
        arguments: ["nydus/bootstrap/rafs-v6-2.2.boot", "expected/toc-2fa78cad.image.boot"]
    )
    func dumpsWhatNydusWrote(_ name: String) throws {
        let text = try dump(Fixtures.bytes(name))
        #expect(text.contains("digester=blake3"))
        #expect(try dump(ImageText(text).bootstrap()) == text)
    }

    @Test func flippedBitsAndCutsAreErrorsOrOtherImages() throws {
        let image = try ImageText(Self.text).bootstrap()
        for index in stride(from: 0, to: image.count, by: 8) {
            var broken = image
            broken[index] ^= 1 << UInt8(index % 8)
            // What counts is that this returns: an error or a text, never a trap.
            _ = try? dump(broken)
        }
        for count in stride(from: 0, to: image.count, by: 101) {
            #expect(throws: ContentError.self) { try dump(Array(image.prefix(count))) }
        }
    }
}
