// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import OCI
import TestSupport
import Testing

@testable import Distribution

@Suite("Credential providers of the kubelet")
struct CredentialPluginTests: ~Copyable {
    private let directory = TemporaryDirectory()
    private static let secret = "s3cret-never-shown"

    private static let yaml = """
        # As written by hand.
        apiVersion: kubelet.config.k8s.io/v1
        kind: CredentialProviderConfig
        providers:
        - name: plugin   # the first
          matchImages:
            - "*.dkr.example.com"
            - registry.example.com:5000/team
          defaultCacheDuration: "1h"
          apiVersion: credentialprovider.kubelet.k8s.io/v1
          args:
          - get
          env:
            - name: PLUGIN_MARK
              value: 'a: b'
        """

    /// A program that notes each run and answers with the auth.
    private func plugin(
        _ auth: String,
        name: String = "plugin",
        keyType: String = "Image",
        duration: String? = nil,
        kind: String = "CredentialProviderResponse",
        tail: String = ""
    ) {
        let field = duration.map { #","cacheDuration":"\#($0)""# } ?? ""
        let answer =
            #"{"kind":"\#(kind)","apiVersion":"credentialprovider.kubelet.k8s.io/v1","#
            + #""cacheKeyType":"\#(keyType)"\#(field),"auth":\#(auth)}"#
        let script = """
            #!/bin/sh
            { echo "$1 $PLUGIN_MARK"; cat; echo; } >> \(directory.path)/runs
            \(tail)
            cat <<'END'
            \(answer)
            END
            """
        directory.write("text of \(name)", Array(script.utf8))
        // By another process: a child that another test starts meanwhile would hold a file open that
        // this one writes, and what is open for writing is not run (ETXTBSY).
        let (text, program) = ("\(directory.path)/text of \(name)", "\(directory.path)/\(name)")
        #expect((try? ChildProcess.run(["install", "-m", "755", text, program])) == 0)
    }

    private func plugins(_ configuration: String = yaml) -> CredentialPlugins {
        directory.write("config", Array(configuration.utf8))
        return CredentialPlugins(
            configuration: "\(directory.path)/config",
            directory: directory.path
        )
    }

    private var runs: [String] {
        guard let file = unsafe fopen("\(directory.path)/runs", "r") else { return [] }
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = unsafe fgetc(file), byte >= 0 { bytes.append(UInt8(byte)) }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    private static var auth: String {
        #"{"*.dkr.example.com":{"username":"u","password":"\#(secret)"}}"#
    }

    @Test func asksAsTheKubeletDoes() throws {
        plugin(Self.auth)
        let found = try plugins().find("a.dkr.example.com", "team/app")
        #expect(found == .password(user: "u", secret: Self.secret))
        let request =
            #"{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","#
            + #""image":"a.dkr.example.com/team/app","kind":"CredentialProviderRequest"}"#
        #expect(runs == ["get a: b", request])
    }

    @Test func asksNobodyForOtherImages() throws {
        plugin(Self.auth)
        #expect(try plugins().find("other.example.com", "team/app") == nil)
        #expect(runs.isEmpty)
    }

    @Test(arguments: [
        ("Image", nil, 3), ("Registry", nil, 2), ("Global", nil, 1), ("Global", "0s", 4),
        ("Image", "10m30s", 3),
    ])
    func keepsAnswersAsTold(keyType: String, duration: String?, runs count: Int) throws {
        plugin(Self.auth, keyType: keyType, duration: duration)
        let plugins = plugins()
        for (registry, repository) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
            let found = try plugins.find("\(registry).dkr.example.com", repository)
            #expect(found == .password(user: "u", secret: Self.secret))
        }
        #expect(runs.count == 2 * count)
    }

    @Test func aProgramThatHangsStopsNoOther() throws {
        let gate = "\(directory.path)/gate"
        #expect(unsafe mkfifo(gate, 0o600) == 0)
        plugin(Self.auth)
        // Says that it runs, and ends when it may.
        plugin(
            #"{"slow.example.com":{"username":"s","password":"1"}}"#,
            name: "slow",
            tail: "echo > \(gate); cat \(gate) > \(directory.path)/end"
        )
        let second = """
            - name: slow
              matchImages:
                - slow.example.com
              defaultCacheDuration: "1h"
              apiVersion: credentialprovider.kubelet.k8s.io/v1
            """
        let plugins = plugins(Self.yaml + "\n" + second)
        let threads = ThreadGroup()
        let slow = Monitor<Credential?>(nil)
        try threads.start(name: "asks slow") {
            let found = try? plugins.find("slow.example.com", "app")
            slow.update { $0 = found }
        }
        _ = try FileSystem.contents(of: gate)
        let found = try plugins.find("a.dkr.example.com", "app")
        #expect(found == .password(user: "u", secret: Self.secret))
        #expect(slow.update { $0 } == nil)
        let opened = try OwnedDescriptor.open(gate, O_WRONLY)
        _ = consume opened
        threads.wait()
        #expect(slow.update { $0 } == .password(user: "s", secret: "1"))
    }

    @Test func theClosestOfSeveralIsTaken() throws {
        plugin(
            #"{"registry.example.com:5000":{"username":"wide","password":"1"},"#
                + #""registry.example.com:5000/team":{"username":"near","password":"2"}}"#
        )
        let found = try plugins().find("registry.example.com:5000", "team/app")
        #expect(found == .password(user: "near", secret: "2"))
    }

    @Test(arguments: [
        ("Image", "Other", ""), ("Sometimes", "CredentialProviderResponse", ""),
        ("Image", "CredentialProviderResponse", "echo \(secret); exit 3"),
        ("Image", "CredentialProviderResponse", "head -c 2000000 /dev/zero"),
    ])
    func failuresSayNothingOfTheSecret(keyType: String, kind: String, tail: String) {
        plugin(Self.auth, keyType: keyType, kind: kind, tail: tail)
        let plugins = plugins()
        let error = #expect(throws: ContentError.self) {
            _ = try plugins.find("a.dkr.example.com", "app")
        }
        #expect(error?.message.contains("plugin") == true)
        #expect(error?.message.contains(Self.secret) == false)
    }

    @Test(arguments: [
        ("*.example.com", "a.example.com/x", true), ("*.example.com", "example.com/x", false),
        ("*.example.com", "a.b.example.com/x", false), ("app*.io", "apple.io/x", true),
        ("a*b*c.io", "axxbyyc.io/x", true), ("a*b*c.io", "axxbyyd.io/x", false),
        ("host", "host/x", true), ("host", "host:5000/x", false),
        ("host:5000", "host:5000/x", true), ("host/a", "host/a/b", true),
        ("host/b", "host/a/b", false), ("h?st", "host/x", true), ("*", "host/x", true),
        ("https://host", "host/x", true),
    ])
    func patternsAreTheKubelets(pattern: String, image: String, isMatch: Bool) throws {
        #expect(try #require(ImagePattern(pattern)).matches(image) == isMatch)
    }

    @Test(arguments: [
        ("1h30m", 5400), ("90s", 90), ("0", 0), ("1.5m", 90), ("300ms", 0), ("", nil), ("5", nil),
        ("-1h", nil), ("1x", nil), ("99999999999999h", 1_000_000_000),
    ])
    func durationsAreGos(text: String, seconds: UInt64?) {
        #expect(GoDuration.seconds(text) == seconds)
    }

    @Test(arguments: [
        "a: [1]", "a: |\n  x", "a: b\na: c", "a:\n    b: c\n  d: e", "? a", "a: \"x\" y",
        "a: &x b", "\ta: b", "a: \"\\n\"", "- a\nb: c",
    ])
    func yamlBeyondTheUsualIsRefused(text: String) {
        #expect(throws: ContentError.self) {
            _ = try BlockYAML.value(of: Array(text.utf8), document: "config")
        }
    }

    @Test func yamlIsReadAsJSONWouldBe() throws {
        let value = try BlockYAML.value(of: Array(Self.yaml.utf8), document: "config")
        let json =
            #"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","#
            + #""providers":[{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","#
            + #""args":["get"],"defaultCacheDuration":"1h","#
            + #""env":[{"name":"PLUGIN_MARK","value":"a: b"}],"#
            + #""matchImages":["*.dkr.example.com","registry.example.com:5000/team"],"#
            + #""name":"plugin"}]}"#
        #expect(value == (try JSONValue(parsing: Array(json.utf8), document: "config")))
        // And so is the configuration itself.
        plugin(Self.auth)
        #expect(try plugins(json).find("a.dkr.example.com", "app") != nil)
    }

    @Test(arguments: [
        (#""name":"plugin""#, #""name":"../plugin""#), ("/v1\"", "/v9\""),
        (#""1h""#, #""often""#), ("*.dkr.example.com", ""),
    ])
    func wrongConfigurationsAreRefused(old: String, new: String) throws {
        let value = try BlockYAML.value(of: Array(Self.yaml.utf8), document: "config")
        let text = String(decoding: value.serialized(), as: UTF8.self)
        let parts = text.split(separator: old, omittingEmptySubsequences: false)
        #expect(parts.count > 1)
        let plugins = plugins(parts.joined(separator: new))
        #expect(throws: ContentError.self) { _ = try plugins.find("a.dkr.example.com", "app") }
    }
}
