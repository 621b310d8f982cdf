// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import TestSupport
import Testing

private let hex = String(repeating: "ab", count: 32)

private func descriptor(_ type: String, size: String = "7", more: String = "") -> String {
    #"{"mediaType":"\#(type)","digest":"sha256:\#(hex)","size":\#(size)\#(more)}"#
}

private let configType = "application/vnd.oci.image.config.v1+json"
private let layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

private func manifestText(layers: String, more: String = "") -> [UInt8] {
    Array(
        #"{"schemaVersion":2,"config":\#(descriptor(configType)),"layers":[\#(layers)]\#(more)}"#
            .utf8
    )
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite("Manifest")
struct ManifestTests {
    @Test func keepsWhatItDoesNotInterpret() throws {
        let source = manifestText(
            layers: descriptor(
                layerType,
                more: #","urls":["https://a/b"],"annotations":{"z":"1","a":"2/3"}"#
            ),
            more:
                #","artifactType":"x/y","subject":{"a":[1,2.5,null,true]},"annotations":{"k":"v"}"#
        )
        let manifest = try Manifest(parsing: source, mediaType: .manifest)
        #expect(manifest.layers.count == 1)
        #expect(manifest.layers[0].digest.hex == hex)
        #expect(manifest.layers[0].size == 7)
        #expect(manifest.layers[0].annotations == ["a": "2/3", "z": "1"])
        #expect(manifest.annotations == ["k": "v"])
        #expect(
            text(manifest.serialized()) == #"{"annotations":{"k":"v"},"artifactType":"x/y","#
                + #""config":{"digest":"sha256:\#(hex)","mediaType":"\#(configType)","size":7},"#
                + #""layers":[{"annotations":{"a":"2/3","z":"1"},"digest":"sha256:\#(hex)","#
                + #""mediaType":"\#(layerType)","size":7,"urls":["https://a/b"]}],"#
                + #""mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,"#
                + #""subject":{"a":[1,2.5,null,true]}}"#
        )
    }

    @Test func roundTripsByteForByte() throws {
        let first = try Manifest(
            parsing: manifestText(layers: descriptor(layerType)),
            mediaType: .dockerManifest
        )
        let second = try Manifest(parsing: first.serialized(), mediaType: .dockerManifest)
        #expect(first == second)
        #expect(first.serialized() == second.serialized())
    }

    @Test(arguments: [
        (#"{"schemaVersion":1}"#, "manifest: schemaVersion: 1, only 2 is supported"),
        (#"{"schemaVersion":2}"#, "manifest: config: missing"),
        ("[]", "manifest: not an object"),
        (
            #"{"config":{"mediaType":"a","digest":"sha256:zz","size":1},"layers":[]}"#,
            "manifest: config.digest: no digest: sha256:zz"
        ),
        (
            #"{"config":{"mediaType":"a","digest":"sha512:00","size":1},"layers":[]}"#,
            "manifest: config.digest: only sha256 digests are supported, found sha512:00"
        ),
        (
            #"{"mediaType":"a/b","config":{},"layers":[]}"#,
            "manifest: mediaType: a/b, expected application/vnd.oci.image.manifest.v1+json"
        ),
        (
            #"{"manifests":[],"config":{},"layers":[]}"#,
            "manifest: manifests: not allowed in a document of"
                + " application/vnd.oci.image.manifest.v1+json"
        ),
    ])
    func saysWhichFieldIsWrong(source: String, message: String) {
        let error = #expect(throws: ContentError.self) {
            try Manifest(parsing: Array(source.utf8), mediaType: .manifest)
        }
        #expect(error?.message == message)
    }

    @Test(arguments: ["-1", "1.5", "\"7\"", "18446744073709551616", "null"])
    func refusesSizesThatAreNone(size: String) {
        let source = manifestText(layers: descriptor(layerType, size: size))
        let error = #expect(throws: ContentError.self) {
            try Manifest(parsing: source, mediaType: .manifest)
        }
        #expect(error?.message.hasPrefix("manifest: layers[0].size: ") == true)
    }

    @Test func limitsItsSize() {
        let source = manifestText(layers: String(repeating: " ", count: 4 << 20))
        let error = #expect(throws: ContentError.self) {
            try Manifest(parsing: source, mediaType: .manifest)
        }
        #expect(error?.kind == .limitExceeded)
    }

    @Test func endsOnTruncationAndFlippedBits() {
        let source = manifestText(layers: descriptor(layerType), more: #","annotations":{"k":"v"}"#)
        for length in 0..<source.count {
            #expect(throws: ContentError.self) {
                try Manifest(parsing: Array(source[..<length]), mediaType: .manifest)
            }
        }
        for flipped in bitFlips(of: source) {
            _ = try? Manifest(parsing: flipped, mediaType: .manifest)
        }
    }

    @Test func endsOnDeepNesting() {
        for opening in ["[", "{\"a\":"] {
            let source = Array(String(repeating: opening, count: 200_000).utf8)
            #expect(throws: ContentError.self) {
                try JSONValue(parsing: source, document: "deep")
            }
        }
    }
}

@Suite("JSON value")
struct JSONValueTests {
    @Test(arguments: [
        "9007199254740993", "-9223372036854775808", "18446744073709551616000", "0", "-0", "0.25",
        "1.0",
        "1E400", "true",
        "null", #""a/b é \" \n""#, "[]", "{}", #"{"B":1,"a":[{"c":null}]}"#,
    ])
    func keepsValuesExactly(source: String) throws {
        let value = try JSONValue(parsing: Array(source.utf8), document: "test")
        #expect(text(value.serialized()) == source)
    }

    @Test func sortsKeysByTheirBytes() throws {
        let source = #"{"b":1, "a":2, "ä":3, "B":4, "aa":5, "a10":6, "a9":7}"#
        let value = try JSONValue(parsing: Array(source.utf8), document: "test")
        #expect(
            text(value.serialized()) == #"{"B":4,"a":2,"a10":6,"a9":7,"aa":5,"b":1,"ä":3}"#
        )
    }

    @Test func readsEscapes() throws {
        let source = #" "\" \\ \/ \b\f\n\r\t \u00e9 \ud83d\ude00 \u0000" "#
        let value = try JSONValue(parsing: Array(source.utf8), document: "test")
        #expect(value == .string("\" \\ / \u{8}\u{c}\n\r\t \u{e9} \u{1f600} \u{0}"))
        #expect(try JSONValue(parsing: value.serialized(), document: "test") == value)
    }

    @Test(arguments: [
        ("", "expected a value at byte 0"), ("1 2", "expected the end at byte 2"),
        ("01", "expected a value at byte 2"), ("-", "expected a value at byte 1"),
        ("1.", "expected a digit at byte 2"), ("1e+", "expected a digit at byte 3"),
        ("+1", "expected a value at byte 0"), ("nul", "expected null at byte 0"),
        ("[1,]", "expected a value at byte 3"), ("[1", "expected , or ] at byte 2"),
        (#"{"a"}"#, "expected : at byte 4"), (#"{"a":1,}"#, "expected a field's name at byte 7"),
        (#"{"a":1,"a":1}"#, "second field 'a' at byte 12"),
        (#""\ud800""#, "half a surrogate pair at byte 7"),
        (#""\udc00""#, "half a surrogate pair at byte 7"),
        (#""\u00g0""#, "expected 4 hexadecimal digits at byte 5"),
        (#""\x""#, "unknown escape at byte 3"),
        ("\"a\nb\"", "control character in a text at byte 3"),
        (#""a"#, "text without end at byte 2"), ("\u{feff}{}", "expected a value at byte 0"),
    ])
    func saysWhatIsNoJSON(source: String, reason: String) {
        let error = #expect(throws: ContentError.self) {
            try JSONValue(parsing: Array(source.utf8), document: "test")
        }
        #expect(error?.message == "test: not JSON: \(reason)")
    }

    @Test func refusesTextThatIsNotUTF8() {
        #expect(throws: ContentError.self) {
            try JSONValue(parsing: [0x22, 0xff, 0x22], document: "test")
        }
    }

    @Test func takesManySmallValuesInTime() throws {
        // A sixteenth of the limit: debug builds are slow; what matters is that time grows evenly.
        for item in ["1", "[]", "\"\"", "{}"] {
            let count = JSONValue.documentLimit / 16 / (item.utf8.count + 1)
            let source = "[" + String(repeating: item + ",", count: count) + item + "]"
            let time = try ContinuousClock().measure {
                _ = try JSONValue(parsing: Array(source.utf8), document: "test")
            }
            #expect(time < .seconds(20))
        }
    }

    @Test(arguments: [(255, true), (256, true), (257, false)])
    func limitsDepth(depth: Int, isAccepted: Bool) {
        let source =
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        let value = try? JSONValue(parsing: Array(source.utf8), document: "test")
        #expect((value != nil) == isAccepted)
    }
}

@Suite("Index")
struct IndexTests {
    @Test func readsPlatforms() throws {
        let platform = #","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#
        let type = "application/vnd.oci.image.manifest.v1+json"
        let source =
            #"{"schemaVersion":2,"manifests":[\#(descriptor(type, more: platform)),"#
            + #"\#(descriptor(type))],"x":1}"#
        let index = try Index(parsing: Array(source.utf8))
        #expect(index.manifests[0].platform?.description == "linux/arm64/v8")
        #expect(index.manifests[1].platform == nil)
        #expect(try Index(parsing: index.json.serialized()) == index)
        #expect(index.otherFields == ["x": .integer(1)])
    }

    @Test func refusesAManifestInItsPlace() {
        #expect(throws: ContentError.self) {
            try Index(parsing: manifestText(layers: ""), mediaType: .index)
        }
    }
}

@Suite("Image config")
struct ImageConfigTests {
    private let source =
        #"{"architecture":"amd64","config":{"Env":["A=b"],"ExposedPorts":{"80/tcp":{}},"#
        + #""StopTimeout":9007199254740993},"created":"2024-01-01T00:00:00Z","history":[{"created_by":"x"}],"#
        + #""os":"linux","os.features":["f"],"rootfs":{"diff_ids":["sha256:\#(hex)"],"type":"layers"}}"#

    @Test func passesEverythingThrough() throws {
        let config = try ImageConfig(parsing: Array(source.utf8))
        #expect(text(config.serialized()) == source)
        #expect(config.platform == Platform(os: "linux", architecture: "amd64"))
        #expect(config.diffIDs.map(\.hex) == [hex])
    }

    @Test func takesAnotherLayer() throws {
        var config = try ImageConfig(parsing: Array(source.utf8))
        config.diffIDs.append(.zero)
        config.appendHistory(createdBy: "lazypull convert", comment: "bootstrap")
        let again = try ImageConfig(parsing: config.serialized())
        #expect(again == config)
        #expect(
            text(config.serialized()).contains(
                #"{"comment":"bootstrap","created_by":"lazypull convert"}]"#
            )
        )
    }

    @Test(arguments: [
        ("{}", "image config: rootfs: missing"),
        (
            #"{"rootfs":{"type":"layers","diff_ids":[1]}}"#,
            "image config: rootfs.diff_ids[0]: not a string"
        ),
        (
            #"{"rootfs":{"type":"base"}}"#,
            "image config: rootfs.type: base, only layers is supported"
        ),
        (#"{"rootfs":{"diff_ids":{}}}"#, "image config: rootfs.diff_ids: not an array"),
    ])
    func saysWhichFieldIsWrong(source: String, message: String) {
        let error = #expect(throws: ContentError.self) {
            try ImageConfig(parsing: Array(source.utf8))
        }
        #expect(error?.message == message)
    }
}

@Suite("Layer media type")
struct LayerMediaTypeTests {
    @Test func knowsOCIAndDocker() throws {
        #expect(try LayerMediaType(.layer) == .tar)
        #expect(try LayerMediaType(.layerGzip) == .tarGzip)
        #expect(try LayerMediaType(.layerZstd) == .tarZstd)
        #expect(try LayerMediaType(.dockerLayer) == .tar)
        #expect(try LayerMediaType(.dockerLayerGzip) == .tarGzip)
        #expect(try LayerMediaType(.dockerLayerZstd) == .tarZstd)
        #expect(try LayerMediaType(.nydusBlob) == .nydusBlob)
    }

    @Test(arguments: [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/json", "",
    ])
    func refusesOthers(type: String) {
        let error = #expect(throws: ContentError.self) { try LayerMediaType(MediaType(type)) }
        #expect(error?.kind == .unsupported)
    }
}
