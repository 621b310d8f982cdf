// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("Hygiene")
struct HygieneTests {
    /// Targets that may call libc; everything else goes through `Linux`.
    ///
    /// `Log` stands on the same floor as `Linux`; the others need the names of flags, errors and
    /// signals.
    private static let callersOfLibc = [
        "Linux", "Log", "FUSE", "Containerd", "ChunkCache", "Mount", "lazypull",
    ]

    /// Words that say nothing about what a file or a target holds.
    private static let emptyWords = ["Utils", "Utilities", "Helpers", "Common", "Extras", "Misc"]

    private func sources() throws -> [String] { try Repository.files("Sources", named: "*.swift") }

    /// The headers and C sources that people wrote.
    private func headers() throws -> [String] {
        try Repository.files("Sources", named: "*.[ch]").filter { !$0.contains("/generated/") }
    }

    private func allSwift() throws -> [String] {
        try Repository.files("Sources Tests", named: "*.swift")
    }

    @Test func filesAreShort() throws {
        for path in try allSwift() + headers() {
            let count = try Repository.lines(path).count
            #expect(count <= 400, "\(path) has \(count) lines")
        }
    }

    @Test func functionsAreShort() throws {
        for path in try allSwift() {
            for function in SwiftText.functions(in: try Repository.lines(path)) {
                #expect(
                    function.lineCount <= 50,
                    "\(path):\(function.line): \(function.lineCount) lines"
                )
            }
        }
    }

    @Test func namesSayWhatTheyHold() throws {
        for path in try allSwift() {
            let parts = path.split(whereSeparator: { $0 == "/" || $0 == "." || $0 == "+" })
            for part in parts {
                #expect(!Self.emptyWords.contains { part.hasSuffix($0) }, "\(path)")
            }
        }
    }

    @Test func nothingImportsTheWholeOfFoundation() throws {
        for path in try allSwift() {
            for line in try Repository.lines(path)
            where SwiftText.imported(by: line) == "Foundation" {
                Issue.record("\(path) imports Foundation: 44 MB in the executable")
            }
        }
    }

    @Test func libcIsCalledFromFewPlaces() throws {
        for path in try sources() {
            let target = path.split(separator: "/")[1]
            guard !Self.callersOfLibc.contains(String(target)) else { continue }
            for line in try Repository.lines(path) where SwiftText.imported(by: line) == "Glibc" {
                Issue.record("\(path) imports Glibc: say it through Linux")
            }
        }
    }

    @Test func nothingTrapsOnPurpose() throws {
        let traps = ["fatalError(", "try!", "as!"]
        for path in try sources() {
            for (index, line) in try Repository.lines(path).enumerated() {
                let code = SwiftText.code(of: line)
                for trap in traps where code.contains(trap) {
                    Issue.record("\(path):\(index + 1): \(trap)")
                }
            }
        }
    }

    @Test func nothingIsAsynchronous() throws {
        let words: Set<Substring> = ["actor", "async", "await", "Task"]
        for path in try sources() {
            for (index, line) in try Repository.lines(path).enumerated() {
                let found = SwiftText.words(of: SwiftText.code(of: line)).filter(words.contains)
                #expect(found.isEmpty, "\(path):\(index + 1)")
            }
        }
    }

    /// Swift 6.3.1 does not run such a `deinit` where it optimizes another module that destroys the
    /// value; tests are not optimized, so none sees the leak.
    @Test func noGenericNoncopyableStructHasADeinit() throws {
        for path in try sources() {
            var isInside = false
            for (index, line) in try Repository.lines(path).enumerated() {
                if line.contains("struct "), line.contains(">: ~Copyable") { isInside = true }
                if line == "}" { isInside = false }
                let isLost = isInside && line.hasPrefix("    deinit")
                #expect(!isLost, "\(path):\(index + 1): give what it frees to a class")
            }
        }
    }

    @Test func everyPackageDeclarationIsDocumented() throws {
        // A witness is documented where its protocol is.
        var witnesses: Set<Substring> = ["description", "hash", "encode", "rawValue"]
        for path in try sources() {
            witnesses.formUnion(SwiftText.protocolRequirements(in: try Repository.lines(path)))
        }
        for path in try sources() {
            for declaration in SwiftText.packageDeclarations(in: try Repository.lines(path)) {
                guard !witnesses.contains(declaration.name) else { continue }
                #expect(
                    declaration.isDocumented,
                    "\(path):\(declaration.line): \(declaration.name) has no doc comment"
                )
            }
        }
    }

    /// Asked where protoc is of the version that made them.
    @Test func generatedSourcesAreWhatTheirSourceMakes() throws {
        guard try Repository.shell("protoc --version 2>&1").text.trimmed == "libprotoc 3.21.12"
        else { return }
        let (text, code) = try Repository.shell(
            """
            new=$(mktemp -d) && cd Sources/CContainerdAPI && \
            protoc --cpp_out="$new" snapshots.proto content.proto && diff -r generated "$new"; \
            code=$?; rm -rf "$new"; exit $code
            """
        )
        let command = "protoc --cpp_out=generated snapshots.proto content.proto"
        #expect(code == 0, "run \(command): \(text.prefix(500))")
    }

    @Test func everyFileNamesItsLicence() throws {
        for path in try allSwift() + headers() {
            let first = try Repository.lines(path).first ?? ""
            #expect(first.contains("SPDX-License-Identifier: Apache-2.0"), "\(path)")
        }
    }
}
