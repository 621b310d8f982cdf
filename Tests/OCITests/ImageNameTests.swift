// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import Testing

private let supported =
    "supported: docker://HOST/REPOSITORY[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG],"
    + " docker-archive:FILE[:TAG]"

@Suite("Image name")
struct ImageNameTests {
    @Test(
        arguments: [
            ("oci:dir", "dir", nil), ("oci:dir:tag", "dir", "tag"),
            ("oci:/a/b:v1.2_3-x", "/a/b", "v1.2_3-x"),
            ("oci:/a:b/c", "/a:b/c", nil), ("oci:a:b/c:d", "a:b/c", "d"), ("oci:.", ".", nil),
            ("oci:dir/", "dir/", nil), ("oci:a:b:c", "a:b", "c"),
        ] as [(String, String, String?)]
    )
    func readsLayouts(text: String, directory: String, tag: String?) throws {
        let name = try ImageName(text)
        #expect(name == .layout(directory: directory, tag: tag))
        #expect(name.description == text)
    }

    @Test func readsArchives() throws {
        for (text, name) in [
            ("oci-archive:a.tar", ImageName.archive(file: "a.tar", tag: nil)),
            ("oci-archive:/a:b/c.tar:v1", .archive(file: "/a:b/c.tar", tag: "v1")),
            ("docker-archive:/a/b.tar", .dockerArchive(file: "/a/b.tar", tag: nil)),
            (
                "docker-archive:/a/b.tar:host:5000/app:v1",
                .dockerArchive(file: "/a/b.tar", tag: "host:5000/app:v1")
            ),
        ] {
            #expect(try ImageName(text) == name)
            #expect(name.description == text)
        }
        #expect(throws: ContentError.self) { try ImageName("docker-archive:a:") }
    }

    @Test(arguments: [
        ("./a:b", "image name './a:b' has no transport; \(supported)"),
        ("", "image name '' has no transport; \(supported)"),
        ("dir:/a/b", "transport 'dir' is not supported; \(supported)"),
        ("oci-archive:", "image name 'oci-archive:' names no file; \(supported)"),
        ("oci:", "image name 'oci:' names no directory; \(supported)"),
        ("oci::tag", "image name 'oci::tag' names no directory; \(supported)"),
        (
            "oci:dir:",
            "'' is no tag: 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"
        ),
        (
            "oci:dir:-x",
            "'-x' is no tag: 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"
        ),
    ])
    func saysWhatIsWrong(text: String, message: String) {
        let error = #expect(throws: ContentError.self) { try ImageName(text) }
        #expect(error?.message == message)
    }

    @Test func limitsTags() {
        #expect(ImageName.isTag(String(repeating: "a", count: 128)))
        #expect(!ImageName.isTag(String(repeating: "a", count: 129)))
        #expect(!ImageName.isTag("a b"))
        #expect(!ImageName.isTag("ä"))
    }
}
