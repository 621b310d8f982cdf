// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import HTTP
import OCI
import TestSupport
import Testing

@testable import Distribution

@Suite("Hosts of registries")
struct HostsConfigurationTests: ~Copyable {
    private let directory = TemporaryDirectory()

    private func hosts(
        _ text: String,
        of registry: String = "registry.example",
        in name: String? = nil
    ) throws -> [RegistryHost] {
        let name = name ?? registry
        _ = unsafe mkdir("\(directory.path)/\(name)", 0o755)
        directory.write("\(name)/hosts.toml", Array(text.utf8))
        return try HostsConfiguration(directory: directory.path).hosts(of: registry)
    }

    @Test(
        arguments: [
            ("registry.example", false, "https://registry.example/v2"),
            ("registry.example:5000", true, "http://registry.example:5000/v2"),
            ("localhost:5000", false, "http://localhost:5000/v2"),
            ("127.0.0.2:5000", false, "http://127.0.0.2:5000/v2"),
            ("[::1]:5000", false, "http://[::1]:5000/v2"),
            ("docker.io", false, "https://registry-1.docker.io/v2"),
        ] as [(String, Bool, String)]
    )
    func knowsRegistriesWithoutAFile(registry: String, isPlain: Bool, base: String) throws {
        let configuration = HostsConfiguration(directory: directory.path, usesPlainHTTP: isPlain)
        let hosts = try configuration.hosts(of: registry)
        #expect(hosts.map(\.base.text) == [base])
        #expect(hosts[0].namespace == nil)
        #expect(hosts[0].capabilities == .all)
    }

    @Test func readsHostsInTheirOrder() throws {
        directory.write("ca.pem", Array("CERTIFICATE".utf8))
        let hosts = try hosts(
            """
            server = "https://registry.example"

            [host."https://second.example"]
              capabilities = ["pull", "resolve"]
              ca = "../ca.pem"
              client = [["cert.pem", "/keys/key.pem"]]
              [host."https://second.example".header]
                x-one = "1"
                x-two = ["2", "3"]

            [host."http://first.example:8080/prefix"]
              capabilities = "pull"
              skip_verify = true

            [host."https://api.example/custom"]
              override_path = true
            """
        )
        #expect(
            hosts.map(\.base.text) == [
                "https://second.example/v2", "http://first.example:8080/prefix/v2",
                "https://api.example/custom", "https://registry.example/v2",
            ]
        )
        #expect(hosts[0].capabilities == [.pull, .resolve])
        #expect(hosts[0].tls.authorities == Array("CERTIFICATE\n".utf8))
        #expect(hosts[0].tls.clientCertificate?.hasSuffix("/registry.example/cert.pem") == true)
        #expect(hosts[0].tls.clientKey == "/keys/key.pem")
        #expect(
            hosts[0].headers.map { "\($0.name)=\($0.value)" } == ["x-one=1", "x-two=2", "x-two=3"]
        )
        #expect(hosts[1].capabilities == .pull)
        #expect(!hosts[1].tls.isVerified)
        #expect(
            hosts.map(\.namespace).prefix(3) == [
                "registry.example", "registry.example", "registry.example",
            ]
        )
        #expect(hosts[3].namespace == nil)
    }

    @Test func findsDirectories() throws {
        let mirror = "[host.\"https://m.example\"]\n"
        #expect(try hosts(mirror, of: "a.example:5000", in: "a.example_5000_").count == 2)
        #expect(try hosts(mirror, of: "b.example:5000", in: "b.example:5000").count == 2)
        let other = try hosts(mirror, of: "c.example", in: "_default")
        #expect(other.map(\.base.text) == ["https://m.example/v2", "https://c.example/v2"])
        #expect(other[0].namespace == "c.example")
    }

    @Test(arguments: [
        ("server = 1", ":1: not a string"), ("[host.\"ftp://x\"]", ": 'ftp://x' is no address"),
        ("a = 1\nca = \"none.pem\"", ":2: there is no file "),
        ("capabilities = [\"fly\"]", ":1: unknown capability 'fly'"), ("x", "hosts.toml:1:"),
    ])
    func saysWhereAFileIsWrong(text: String, message: String) {
        let error = #expect(throws: ContentError.self) { try hosts(text) }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
    }

    @Test func readsNextPages() {
        #expect(RegistryClient.nextPage("</v2/a?n=1&last=b>; rel=\"next\"") == "/v2/a?n=1&last=b")
        #expect(RegistryClient.nextPage("</v2/a>; rel=\"prev\"") == nil)
        #expect(RegistryClient.nextPage("nonsense") == nil)
    }

    @Test func showsWhatARegistrySays() {
        let body = #"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}},{"code":"X"}]}"#
        #expect(RegistryMessage.text(of: Array(body.utf8)) == "DENIED: no way; X")
        #expect(RegistryMessage.text(of: Array("<html>".utf8)) == "")
        #expect(RegistryMessage.text(of: Array(#"{"details":"bad"}"#.utf8)) == "bad")
        let long = #"{"message":""# + String(repeating: "x", count: 9999) + #""}"#
        #expect(RegistryMessage.text(of: Array(long.utf8)).count == 300)
    }
}
