// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Testing

/// The part of `swift package dump-package` these tests read.
private struct Manifest: Decodable {
    struct Target: Decodable {
        var name: String
        var type: String
        var dependencies: [Dependency]
    }

    /// `{"target": ["Content", null]}` or `{"byName": ["Content", null]}`.
    struct Dependency: Decodable {
        var name: String

        init(from decoder: any Decoder) throws {
            let kinds = try decoder.singleValueContainer().decode([String: [String?]].self)
            guard let name = kinds.values.first?.first ?? nil else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "no name: \(kinds)")
                )
            }
            self.name = name
        }
    }

    struct PackageDependency: Decodable {}

    var targets: [Target]
    var dependencies: [PackageDependency]
}

@Suite("Floors")
struct FloorTests {
    /// Which floor a target stands on: it imports lower ones only, never its own.
    private static let floors: [String: Int] = [
        "CLinux": 0, "CZlib": 0, "CZstd": 0, "CLZ4": 0, "CCrypto": 0, "CFuse": 0,
        "CChecksum": 0, "CCurl": 0, "CTOML": 0, "CSQLite": 0,
        "Content": 1, "Linux": 1, "Arguments": 1, "Log": 1,
        "Compression": 2, "OCI": 2, "Tar": 2, "FUSE": 2, "TOML": 2, "HTTP": 2,
        "Containerd": 2, "Database": 2,
        "RAFS": 3, "Distribution": 3, "Layers": 3, "ChunkCache": 3, "Configuration": 3,
        "Convert": 4, "Check": 4, "Mount": 4, "Unpack": 4, "Snapshotter": 4,
        "lazypull": 5, "InflateBenchmark": 5,
    ]

    /// Format modules take bytes and give values: no file, no clock, no network.
    private static let pure = ["Content", "Compression", "OCI", "Tar", "RAFS", "Layers", "TOML"]

    /// Asking for the manifest takes a lock on the build folder that `swift test` may hold, so it
    /// gets a folder of its own.
    private func manifest() throws -> Manifest {
        let (text, code) = try Repository.shell(
            """
            scratch=$(mktemp -d) && swift package --scratch-path "$scratch" dump-package; \
            code=$?; rm -rf "$scratch"; exit $code
            """
        )
        try #require(code == 0, "swift package dump-package failed")
        return try JSONDecoder().decode(Manifest.self, from: Data(text.utf8))
    }

    @Test func everyTargetImportsLowerFloorsOnly() throws {
        let manifest = try manifest()
        for target in manifest.targets where target.type != "test" && target.name != "TestSupport" {
            guard let floor = Self.floors[target.name] else {
                Issue.record("\(target.name) has no floor: give it one here")
                continue
            }
            for dependency in target.dependencies {
                let below = try #require(Self.floors[dependency.name], "\(dependency.name)")
                #expect(below < floor, "\(target.name) imports \(dependency.name)")
            }
        }
        let names = Set(manifest.targets.map(\.name))
        #expect(Set(Self.floors.keys).isSubset(of: names), "a floor names a target that is gone")
    }

    @Test func formatModulesAreBuiltOnFormatModulesOnly() throws {
        let libraries = ["CChecksum", "CZlib", "CZstd", "CLZ4", "CCrypto", "CTOML"]
        for target in try manifest().targets where Self.pure.contains(target.name) {
            for dependency in target.dependencies {
                #expect(
                    (Self.pure + libraries).contains(dependency.name),
                    "\(target.name) imports \(dependency.name)"
                )
            }
        }
    }

    @Test func dependsOnNoOutsidePackage() throws {
        #expect(try manifest().dependencies.isEmpty)
    }

    @Test func everySwiftTargetHasItsTests() throws {
        let targets = try manifest().targets
        let tests = Set(targets.filter { $0.type == "test" }.map(\.name))
        for target in targets where target.type == "regular" && target.name != "TestSupport" {
            guard Self.floors[target.name] != 0 else { continue }
            #expect(tests.contains("\(target.name)Tests"), "\(target.name) has no tests")
        }
    }
}
