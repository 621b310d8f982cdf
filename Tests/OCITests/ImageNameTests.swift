// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import Testing

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

    @Test(arguments: [
        ("dir", "image name 'dir' has no transport; supported: oci:DIR[:TAG]"),
        ("./a:b", "image name './a:b' has no transport; supported: oci:DIR[:TAG]"),
        ("", "image name '' has no transport; supported: oci:DIR[:TAG]"),
        (
            "docker://alpine",
            "transport 'docker' is not supported; supported: oci:DIR[:TAG]"
        ),
        ("oci:", "image name 'oci:' names no directory; supported: oci:DIR[:TAG]"),
        ("oci::tag", "image name 'oci::tag' names no directory; supported: oci:DIR[:TAG]"),
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
