// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import Testing

@Suite("BLAKE3")
struct BLAKE3Tests {
    /// The input of the official test vectors: bytes that count to 250 and begin anew.
    private static func input(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8($0 % 251) }
    }

    /// Of the official test vectors, the first 32 bytes of `hash`.
    private static let vectors: [(count: Int, digest: String)] = [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        (2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"),
        (3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"),
        (5120, "9cadc15fed8b5d854562b26a9536d9707cadeda9b143978f319ab34230535833"),
        (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
        (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
    ]

    @Test(arguments: vectors)
    func givesTheOfficialDigests(count: Int, digest: String) {
        #expect(Digester.blake3.digest(of: Self.input(count).rawSpan).hex == digest)
    }

    @Test func dependsOnEveryByte() {
        for count in [1, 63, 64, 65, 1024, 1025, 4096, 4097] {
            var bytes = Self.input(count)
            var seen: Set<Digest> = [BLAKE3.digest(of: bytes.rawSpan)]
            for place in Set([0, count / 2, count - 1]) {
                bytes[place] ^= 1
                #expect(seen.insert(BLAKE3.digest(of: bytes.rawSpan)).inserted)
                bytes[place] ^= 1
            }
        }
    }

    @Test func tellsLengthsApart() {
        // Zeros: what is padded and what is content must differ.
        let digests = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 4095, 4096, 5000].map {
            BLAKE3.digest(of: [UInt8](repeating: 0, count: $0).rawSpan)
        }
        #expect(Set(digests).count == digests.count)
    }
}
