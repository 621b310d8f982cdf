// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import TestSupport
import Testing

@testable import Distribution

@Suite("Credentials")
struct CredentialTests: ~Copyable {
    private let directory = TemporaryDirectory()

    private func find(
        _ config: String,
        _ registry: String = "host:5000",
        _ repository: String = "a/b"
    ) throws -> Credential? {
        directory.write("config.json", Array(config.utf8))
        return try CredentialStore(files: [
            "\(directory.path)/none", "\(directory.path)/config.json",
        ])
        .find(registry, repository)
    }

    @Test(arguments: [
        "", "f", "fo", "foo", "foob", "fooba", "foobar", "\u{0}\u{ff}",
    ])
    func roundTripsBase64(text: String) {
        let encoded = Base64.encode(Array(text.utf8))
        #expect(encoded.utf8.count % 4 == 0)
        #expect(Base64.decode(encoded) == Array(text.utf8))
    }

    @Test func readsBase64OfOthers() {
        #expect(Base64.encode(Array("foob".utf8)) == "Zm9vYg==")
        #expect(Base64.decode("Zm9vYg") == Array("foob".utf8))
        #expect(Base64.decode("_-8=") == [0xff, 0xef])
        #expect(Base64.decode("a b") == nil)
        #expect(Base64.decode("a") == nil)
    }

    @Test(arguments: [
        #"{"auths":{"host:5000":{"auth":"dXNlcjpzZTpjcmV0"}}}"#,
        #"{"auths":{"https://host:5000":{"auth":"dXNlcjpzZTpjcmV0"}}}"#,
        #"{"auths":{"https://host:5000/v1/":{"username":"user","password":"se:cret"}}}"#,
        #"{"auths":{"host:5000":{"auth":"bm8="},"host:5000/a":{"auth":"dXNlcjpzZTpjcmV0"}}}"#,
        #"{"auths":{"other":{}, "host:5000":{"auth":"dXNlcjpzZTpjcmV0AAA="}}}"#,
    ])
    func findsPasswords(config: String) throws {
        #expect(try find(config) == .password(user: "user", secret: "se:cret"))
    }

    @Test func findsTokens() throws {
        let identity = #"{"auths":{"host:5000":{"auth":"dXNlcjo=","identitytoken":"t"}}}"#
        #expect(try find(identity) == .identityToken("t"))
        let registry = #"{"auths":{"host:5000":{"registrytoken":"t"}}}"#
        #expect(try find(registry) == .registryToken("t"))
    }

    @Test func findsDockerHub() throws {
        let config = #"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpzZTpjcmV0"}}}"#
        #expect(try find(config, "docker.io", "library/a") != nil)
        #expect(try find(config, "quay.io", "library/a") == nil)
    }

    @Test(arguments: ["{}", #"{"auths":{}}"#, #"{"auths":{"host:5000":{}}}"#, #"{"auths":null}"#])
    func findsNothing(config: String) throws {
        #expect(try find(config) == nil)
    }

    @Test func showsNoSecret() throws {
        let error = #expect(throws: ContentError.self) {
            try find(#"{"auths":{"host:5000":{"auth":"c2VjcmV0"}}}"#)
        }
        #expect(error?.message.contains("c2VjcmV0") == false)
        for credential in [
            Credential.password(user: "user", secret: "secret"), .identityToken("secret"),
            .registryToken("secret"),
        ] {
            #expect(!"\(credential)".contains("secret"))
            #expect(!String(reflecting: credential).contains("secret"))
        }
    }

    @Test func asksHelpersWithoutAShell() throws {
        #expect(throws: ContentError.self) { try CredentialHelper("a;b") }
        #expect(throws: ContentError.self) { try CredentialHelper("../a") }
        let error = #expect(throws: ContentError.self) {
            try find(#"{"credHelpers":{"host:5000":"no-such-helper"}}"#)
        }
        #expect(error?.message.contains("docker-credential-no-such-helper") == true)
    }
}

@Suite("Challenges")
struct AuthChallengeTests {
    @Test func readsOne() {
        let header =
            #"Bearer realm="https://auth.example/token",service="a, \"b\"",scope="repository:x:pull""#
        #expect(
            AuthChallenge.parse([header]) == [
                AuthChallenge(
                    scheme: "bearer",
                    parameters: [
                        "realm": "https://auth.example/token", "service": "a, \"b\"",
                        "scope": "repository:x:pull",
                    ]
                )
            ]
        )
    }

    @Test func readsSeveral() {
        let found = AuthChallenge.parse([#"Basic realm=x, Bearer Realm = "y""#, "Negotiate"])
        #expect(found.map(\.scheme) == ["basic", "bearer", "negotiate"])
        #expect(found[0].parameters == ["realm": "x"])
        #expect(found[1].parameters == ["realm": "y"])
    }

    @Test(arguments: ["", "=", "\"", ",,,", "Bearer realm=\"", "a=b", "Bearer =\"\"", "\u{0}\u{1}"])
    func survivesAnything(header: String) {
        _ = AuthChallenge.parse([header])
    }
}
