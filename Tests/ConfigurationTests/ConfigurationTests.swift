// SPDX-License-Identifier: Apache-2.0

import Arguments
import Configuration
import Content
import Linux
import TestSupport
import Testing

@Suite("Configuration")
struct ConfigurationTests {
    private func configuration(_ text: String) throws(ContentError) -> Configuration {
        try Configuration(parsing: Array(text.utf8), path: "config.toml")
    }

    /// The message of what is wrong with a text, whose table `mount` the body reads.
    private func complaint(
        _ text: String,
        _ body: (inout ConfigurationTable) throws(ContentError) -> Void = {
            _ throws(ContentError) in
        }
    ) -> String? {
        do throws(ContentError) {
            var table = try configuration(text).table("mount")
            try body(&table)
            try table.finish()
            return nil
        } catch {
            return error.kind == .corrupt ? error.message : "\(error.kind)"
        }
    }

    @Test func readsValuesOfEveryKind() throws {
        var table = try configuration(
            """
            [mount]
            text = "a b"
            path = "/srv/cache"
            number = 1_000
            yes = true
            word = "two"
            list = ["a", "b"]
            within.key = "inner"
            """
        ).table("mount")
        #expect(try table.text("text") == "a b")
        #expect(try table.path("path") == "/srv/cache")
        #expect(try table.integer("number", in: 0...1000) == 1000)
        #expect(try table.boolean("yes") == true)
        #expect(try table.choice("word", of: ["one", "two"]) == "two")
        #expect(try table.texts("list") == ["a", "b"])
        var within = try #require(try table.table("within"))
        #expect(try within.text("key") == "inner")
        try within.finish()
        #expect(try table.text("absent") == nil)
        #expect(try table.table("absent-too") == nil)
        try table.finish()
    }

    @Test func aTableThatIsMissingIsEmpty() throws {
        try configuration("").table("mount").finish()
        try Configuration().table("mount").finish()
        try configuration("[snapshotter]\nanything = 1\n").table("mount").finish()
    }

    @Test func refusesWhatNobodyReadsWithItsLine() throws {
        #expect(
            complaint("[mount]\n\nread-ahed = 1\n") { table throws(ContentError) in
                _ = try table.integer("read-ahead", in: 0...9)
            } == "config.toml:3:13: [mount] has no key 'read-ahed'; did you mean 'read-ahead'?"
        )
        let table = complaint("[mount]\n[snapshoter]\n")
        #expect(
            table == "config.toml:2:1: there is no table 'snapshoter'; did you mean 'snapshotter'?"
        )
        #expect(complaint("key = 1\n")?.hasPrefix("config.toml:1:") == true)
        #expect(complaint("mount = 7\n") == "config.toml:1:9: 'mount' must be a table")
        #expect(complaint("[[mount]]\n")?.hasSuffix("'mount' must be a table") == true)
        #expect(
            complaint("[mount.inner]\nx = 1\n") { table throws(ContentError) in
                try table.table("inner")?.finish()
            } == "config.toml:2:5: [mount.inner] has no key 'x'"
        )
        #expect(complaint("[mount]\na = \n")?.hasPrefix("config.toml:2:") == true)
    }

    @Test(arguments: ["7", "true", "[\"/x\"]", "2026-01-31", "1.5", "{}"])
    func refusesOtherKindsOfValues(value: String) throws {
        let text = "[mount]\nkey = \(value)\n"
        let place = "config.toml:2:7: 'mount.key' must be "
        if value != "7" {
            let complaint = complaint(text) { table throws(ContentError) in
                _ = try table.integer("key", in: 0...9)
            }
            #expect(complaint == place + "a number from 0 to 9")
        }
        if value != "true" {
            let complaint = complaint(text) { table throws(ContentError) in
                _ = try table.boolean("key")
            }
            #expect(complaint == place + "true or false")
        }
        let complaint = complaint(text) { table throws(ContentError) in _ = try table.text("key") }
        #expect(complaint == place + "a string")
    }

    @Test func refusesValuesOutOfRange() throws {
        for number in ["-1", "10", "9223372036854775807"] {
            let complaint = complaint("[mount]\nkey = \(number)\n") { table throws(ContentError) in
                _ = try table.integer("key", in: 0...9)
            }
            #expect(complaint?.hasSuffix("'mount.key' must be a number from 0 to 9") == true)
        }
        for path in ["relative", "", "~/x", "/a\\u0000b"] {
            let complaint = complaint("[mount]\nkey = \"\(path)\"\n") {
                table throws(ContentError) in
                _ = try table.path("key")
            }
            #expect(complaint?.hasSuffix("'mount.key' must be an absolute path") == true, "\(path)")
        }
        let complaint = complaint("[mount]\nkey = [\"a\", 1]\n") { table throws(ContentError) in
            _ = try table.texts("key")
        }
        #expect(complaint == "config.toml:2:13: 'mount.key' must be an array of strings")
    }

    @Test func theUsualFileIsRootsOrTheUsersOwn() {
        func path(_ isRoot: Bool, _ variables: [String: String]) -> String? {
            Configuration.defaultPath(isRoot: isRoot) { variables[$0] }
        }
        #expect(path(true, ["XDG_CONFIG_HOME": "/x"]) == "/etc/lazypull/config.toml")
        #expect(path(false, ["XDG_CONFIG_HOME": "/x", "HOME": "/h"]) == "/x/lazypull/config.toml")
        #expect(
            path(false, ["XDG_CONFIG_HOME": "x", "HOME": "/h"]) == "/h/.config/lazypull/config.toml"
        )
        #expect(path(false, ["HOME": "h"]) == nil)
        #expect(path(false, [:]) == nil)
    }

    @Test func aFileThatIsOptionalMayBeMissing() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/config.toml"
        #expect(try Configuration(contentsOf: path, isOptional: true).table("mount").finish() == ())
        #expect(throws: SystemError.self) { try Configuration(contentsOf: path) }
        #expect(throws: SystemError.self) {
            // A directory is no file, wanted or not.
            try Configuration(contentsOf: directory.path, isOptional: true)
        }
        directory.write("config.toml", Array("[mount]\nkey = \"value\"\n".utf8))
        var table = try Configuration(contentsOf: path).table("mount")
        #expect(try table.text("key") == "value")
    }
}

@Suite("Configured options")
struct ConfiguredOptionTests {
    private static let size = Option(
        "size",
        value: OptionValue("N", .integer(0...9), fallback: "5"),
        help: ""
    )
    private static let place = Option("place", value: OptionValue("DIR", .directory), help: "")
    private static let word = Option(
        "word",
        value: OptionValue("W", .choice(["a", "b"])),
        help: ""
    )
    private static let quick = Option("quick", help: "")
    private static let names = Option(
        "name",
        value: OptionValue("N", .text),
        isRepeatable: true,
        help: ""
    )
    private static let words = Option(
        "words",
        value: OptionValue("W", .choice(["a", "b"])),
        isRepeatable: true,
        help: ""
    )
    private static let all = [size, place, word, quick, names, words]
    private static let syntax = Syntax(name: "x", summary: "x", options: all, operands: [])

    private func arguments(_ words: [String], _ text: String) throws -> ParsedArguments {
        guard case .run(let given) = try Self.syntax.parse(words) else {
            throw ContentError.corrupt("help")
        }
        let file = try Configuration(parsing: Array("[mount]\n\(text)".utf8), path: "c")
        return given.filled(with: try file.table("mount").values(of: Self.all))
    }

    @Test func theFileGivesDefaults() throws {
        let text =
            "size = 7\nplace = \"/p\"\nword = \"b\"\nquick = true\nname = [\"n\", \"m\"]\n"
            + "words = [\"b\", \"a\"]\n"
        let arguments = try arguments([], text)
        #expect(arguments.integer(Self.size) == 7)
        #expect(arguments.text(Self.place) == "/p")
        #expect(arguments.text(Self.word) == "b")
        #expect(arguments.has(Self.quick))
        #expect(arguments.texts(Self.names) == ["n", "m"])
        #expect(arguments.texts(Self.words) == ["b", "a"])
    }

    @Test func theCommandLineGoesFirst() throws {
        let arguments = try arguments(["--size=1", "--name=x"], "size = 7\nname = [\"n\"]\n")
        #expect(arguments.integer(Self.size) == 1)
        #expect(arguments.texts(Self.names) == ["x"])
    }

    @Test func whatNeitherSaysIsAsBefore() throws {
        let arguments = try arguments([], "quick = false\n")
        #expect(arguments.integer(Self.size) == 5)
        #expect(arguments.text(Self.place) == nil)
        #expect(!arguments.has(Self.quick))
        #expect(arguments.texts(Self.names).isEmpty)
    }

    @Test(arguments: [
        "size = 10", "size = \"7\"", "place = \"p\"", "word = \"c\"", "quick = 1", "name = \"n\"",
        "help = true", "sise = 1", "words = [\"c\"]", "words = []", "words = \"a\"",
    ])
    func refusesWhatTheOptionWouldNotTake(text: String) {
        let error = #expect(throws: ContentError.self) { try arguments([], text + "\n") }
        #expect(error?.message.hasPrefix("c:2:") == true)
    }
}
