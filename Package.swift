// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// The settings every Swift target is compiled with.
let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

/// A Swift module with its tests in `Tests/<name>Tests`.
///
/// A target imports only targets of lower floors; `Tests/PackageTests` holds the floors.
func module(_ name: String, _ dependencies: [Target.Dependency]) -> [Target] {
    [
        .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings),
        .testTarget(
            name: "\(name)Tests",
            dependencies: [.target(name: name), "TestSupport"] + dependencies,
            swiftSettings: swiftSettings
        ),
    ]
}

let package = Package(
    name: "lazypull",
    products: [
        .executable(name: "lazypull", targets: ["lazypull"])
    ],
    targets: [
        // Floor 0: one C library each.
        .target(name: "CLinux"),
        .systemLibrary(name: "CZlib"),
        .systemLibrary(name: "CZstd"),
        .systemLibrary(name: "CLZ4"),
        .systemLibrary(name: "CCrypto"),
        .systemLibrary(name: "CSQLite"),
        .target(name: "CFuse"),
        .target(name: "CChecksum"),
        .target(
            name: "CCurl",
            cSettings: [.define("STATIC_STUBS", .when(configuration: .release))]
        ),
        .target(name: "CTOML"),
        .systemLibrary(name: "CGRPC"),
        .systemLibrary(name: "CEvent"),
        .target(name: "CContainerdAPI", exclude: ["snapshots.proto", "content.proto"]),
        .target(name: "CRE2"),
    ]
        // Floor 1: words, the kernel, the command line, the log.
        + module("Content", [])
        + module("Linux", ["CLinux"])
        + module("Arguments", ["CLinux"])
        + module("Log", ["CLinux"])
        // Floor 2: formats and engines.
        + module("Compression", ["Content", "CChecksum", "CZlib", "CZstd", "CLZ4", "CCrypto"])
        + module("OCI", ["Content"])
        + module("Tar", ["Content"])
        + module("FUSE", ["Linux", "CFuse", "CLinux"])
        + module("TOML", ["Content", "CTOML"])
        + module("HTTP", ["Content", "Linux", "CCurl"])
        + module("Containerd", ["Linux", "Log", "CGRPC", "CContainerdAPI", "CRE2"])
        + module("Database", ["CSQLite"])
        // Floor 3: images and chunks.
        + module("RAFS", ["Content", "Compression"])
        + module(
            "Distribution",
            ["Content", "Linux", "Log", "Compression", "OCI", "Tar", "TOML", "HTTP"]
        )
        + module("Layers", ["Content", "Compression", "Tar"])
        + module("ChunkCache", ["Content", "Linux", "Log", "Compression"])
        + module("Configuration", ["Arguments", "Content", "Linux", "TOML"])
        // Floor 4: what the applets do.
        + module(
            "Convert",
            ["Content", "Linux", "Compression", "OCI", "Tar", "RAFS", "Distribution", "Layers"]
        )
        + module(
            "Check",
            [
                "Content", "Linux", "Compression", "OCI", "RAFS", "Distribution", "Layers",
                "ChunkCache",
            ]
        )
        + module(
            "Mount",
            [
                "Content", "Linux", "Log", "Compression", "OCI", "FUSE", "RAFS", "Distribution",
                "ChunkCache", "CLinux",
            ]
        )
        + module("Unpack", ["Content", "Linux", "RAFS", "Distribution", "ChunkCache"])
        + module(
            "Admin",
            ["Content", "Linux", "Log", "OCI", "HTTP", "Containerd", "CEvent"]
        )
        + module(
            "Snapshotter",
            [
                "Content", "Linux", "Log", "Compression", "OCI", "Database", "Containerd",
                "Distribution",
            ]
        )
        // Floor 5: the executable.
        + [
            .executableTarget(
                name: "lazypull",
                dependencies: [
                    "Arguments", "Log", "Linux", "Content", "OCI", "HTTP", "Distribution", "Layers",
                    "ChunkCache", "Configuration", "Convert", "Check", "Mount", "Unpack",
                    "Containerd", "Snapshotter", "Admin", "FUSE",
                ],
                swiftSettings: swiftSettings,
                linkerSettings: [
                    // Debug builds and tests stay dynamic; the release executable needs nothing
                    // of the machine it runs on.
                    .unsafeFlags(
                        [
                            "-static-executable", "-use-ld=lld", "-Xlinker", "--strip-all",
                        ],
                        .when(configuration: .release)
                    )
                ]
            ),
            .target(
                name: "TestSupport",
                dependencies: ["Content", "CZlib"],
                path: "Tests/TestSupport",
                swiftSettings: swiftSettings
            ),
            // What Tests/Benchmarks/run measures beside zlib.
            .executableTarget(
                name: "InflateBenchmark",
                dependencies: ["Content", "Compression", "CZlib"],
                path: "Tests/Benchmarks/Inflate",
                swiftSettings: swiftSettings
            ),
            .testTarget(name: "PackageTests", dependencies: [], swiftSettings: swiftSettings),
        ],
    cxxLanguageStandard: .cxx17
)
