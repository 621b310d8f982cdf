// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Testing

@Suite("Streaming digest")
struct StreamingDigestTests {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ])
    func givesPublishedValues(text: String, expected: String) {
        #expect(StreamingDigest.digest(of: Array(text.utf8)).hex == expected)
        let bytes = Array(text.utf8)
        let digest = StreamingDigest.digest(of: bytes.rawSpan)
        #expect(digest.hex == expected)
    }

    @Test func doesNotDependOnHowBytesArePieced() {
        // A million times "a", FIPS 180's long example.
        var digest = StreamingDigest()
        let piece = [UInt8](repeating: 0x61, count: 999)
        for _ in 0..<1001 { digest.update(piece.rawSpan) }
        let last: [UInt8] = [0x61]
        digest.update(last.rawSpan)
        #expect(
            digest.finish().hex
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        )
    }

    @Test func beginsAnewAfterItsEnd() {
        var digest = StreamingDigest()
        let bytes: [UInt8] = [1, 2, 3]
        digest.update(bytes.rawSpan)
        let first = digest.finish()
        digest.update(bytes.rawSpan)
        #expect(digest.finish() == first)
        #expect(digest.finish() == StreamingDigest.digest(of: [UInt8]()))
    }
}
