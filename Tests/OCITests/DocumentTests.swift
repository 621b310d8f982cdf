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
            text(try manifest.serialized()) == #"{"annotations":{"k":"v"},"artifactType":"x/y","#
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
        let second = try Manifest(parsing: try first.serialized(), mediaType: .dockerManifest)
        #expect(first == second)
        #expect(try first.serialized() == second.serialized())
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
        "9007199254740993", "-9223372036854775808", "18446744073709551615", "0", "0.25", "true",
        "null", #""a/b é \" \n""#, "[]", "{}", #"{"B":1,"a":[{"c":null}]}"#,
    ])
    func keepsValuesExactly(source: String) throws {
        let value = try JSONValue(parsing: Array(source.utf8), document: "test")
        #expect(text(try value.serialized()) == source)
    }

    @Test func sortsKeys() throws {
        let source = #"{"b":1, "a":2, "ä":3, "B":4, "aa":5, "a10":6, "a9":7}"#
        let value = try JSONValue(parsing: Array(source.utf8), document: "test")
        let first = try value.serialized()
        #expect(try value.serialized() == first)
        #expect(try JSONValue(parsing: first, document: "test") == value)
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
        #expect(try Index(parsing: try index.json.serialized()) == index)
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
        #expect(text(try config.serialized()) == source)
        #expect(config.platform == Platform(os: "linux", architecture: "amd64"))
        #expect(config.diffIDs.map(\.hex) == [hex])
    }

    @Test func takesAnotherLayer() throws {
        var config = try ImageConfig(parsing: Array(source.utf8))
        config.diffIDs.append(.zero)
        config.appendHistory(createdBy: "lazypull convert", comment: "bootstrap")
        let again = try ImageConfig(parsing: try config.serialized())
        #expect(again == config)
        #expect(
            text(try config.serialized()).contains(
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
