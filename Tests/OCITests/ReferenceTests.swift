// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import Testing

private let digest = "sha256:" + String(repeating: "0a", count: 32)

@Suite("References")
struct ReferenceTests {
    @Test(
        arguments: [
            ("alpine", "docker.io", "library/alpine", nil),
            ("alpine:3.19", "docker.io", "library/alpine", "3.19"),
            ("user/app", "docker.io", "user/app", nil),
            ("docker.io/alpine", "docker.io", "library/alpine", nil),
            ("index.docker.io/a/b:c", "docker.io", "a/b", "c"),
            ("localhost/app", "localhost", "app", nil),
            ("localhost:5000/a/b/c:v1", "localhost:5000", "a/b/c", "v1"),
            ("registry.example/app", "registry.example", "app", nil),
            ("HOST/app", "HOST", "app", nil),
            ("[::1]:5000/app:1", "[::1]:5000", "app", "1"),
            ("127.0.0.1:5000/a.b-c__d--e/f_g", "127.0.0.1:5000", "a.b-c__d--e/f_g", nil),
            ("h.x:1/a:TAG", "h.x:1", "a", "TAG"),
        ] as [(String, String, String, String?)]
    )
    func readsNames(text: String, registry: String, repository: String, tag: String?) throws {
        for prefix in ["", "docker://"] {
            guard case .registry(let reference) = try ImageName(prefix + text) else {
                Issue.record("\(prefix + text) is in no registry")
                continue
            }
            #expect(reference.registry == registry)
            #expect(reference.repository == repository)
            #expect(reference.tag == tag)
            #expect(reference.digest == nil)
            #expect(reference.manifestName == tag ?? "latest")
            let name = ImageName.registry(reference).description
            #expect(name == "docker://\(registry)/\(repository)\(tag.map { ":\($0)" } ?? "")")
            #expect(try ImageName(name) == .registry(reference))
        }
    }

    @Test func readsDigests() throws {
        let reference = try Reference("h.x/a:b@\(digest)")
        #expect(reference.tag == "b")
        #expect(reference.digest == Digest(oci: digest))
        #expect(reference.manifestName == digest)
        #expect(reference.description == "h.x/a:b@\(digest)")
        #expect(try Reference("a@\(digest)").description == "docker.io/library/a@\(digest)")
    }

    @Test(arguments: [
        "docker:alpine", "docker://", "docker:///a", "docker-daemon:a", "https://host/a", "/a/b",
        "./a", "", "App", "host.x/", "host.x/App", "host.x/a//b", "host.x/a/", "host.x/-a",
        "host.x/a-", "host.x/a..b", "host.x/a___b", "host.x/a._b", "host.x/a b", "host.x/ä",
        "host.x:0/a", "host.x:65536/a", "host.x:a/b", "-host.x/a", "host..x/a", "[::1/a", "[]/a",
        "[::1]5000/a", "a:", "a:-x", "a:b:c", "a@sha256:00", "a@sha512:00", "a@", "host.x/a\u{0}",
        "user:password@host.x/a",
    ])
    func refusesOtherNames(text: String) {
        #expect(throws: ContentError.self) { try ImageName(text) }
    }

    @Test func limitsTheLengthOfARepository() {
        #expect(Reference.isRepository(String(repeating: "a", count: 255)))
        #expect(!Reference.isRepository(String(repeating: "a", count: 256)))
    }
}
