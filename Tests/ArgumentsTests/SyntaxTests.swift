// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Arguments

/// A syntax with one option of every kind.
let sample = Syntax(
    name: "sample",
    summary: "Show what options can be",
    options: [
        Option("threads", short: "t", value: OptionValue("N", .integer(1...64)), help: "Threads."),
        Option("quiet", short: "q", help: "Print nothing."),
        Option(
            "output",
            short: "o",
            value: OptionValue("FORMAT", .choice(["text", "json"]), fallback: "text"),
            help: "The form."
        ),
        Option("log-file", value: OptionValue("FILE", .file), help: "The log."),
        Option("log-level", value: OptionValue("LEVEL", .text), help: "The level."),
        Option("path", value: OptionValue("PATH", .text), isRepeatable: true, help: "A path."),
        Option("secret", isHidden: true, help: "Not for everybody."),
    ],
    operands: [
        Operand("SOURCE", .image(transports: ["oci"]), help: "Where from."),
        Operand("TARGET", .directory, isOptional: true, help: "Where to."),
    ]
)

@Suite("Syntax")
struct SyntaxTests {
    /// What the words mean as a command line of the sample.
    private func parse(_ words: [String]) throws -> ParsedArguments {
        guard case .run(let arguments) = try sample.parse(words) else {
            throw UsageError("help was asked for")
        }
        return arguments
    }

    /// The option of the sample.
    private func option(_ name: String) throws -> Option {
        try #require(sample.options.first { $0.name == name })
    }

    @Test(arguments: [
        ["--threads", "8", "a", "b"],
        ["--threads=8", "a", "b"],
        ["-t", "8", "a", "b"],
        ["-t8", "a", "b"],
        ["a", "b", "-t", "8"],
        ["a", "--threads", "8", "--", "b"],
        ["--thr", "8", "a", "b"],
    ])
    func readsAnOptionInEveryForm(words: [String]) throws {
        let arguments = try parse(words)
        #expect(try arguments.integer(option("threads")) == 8)
        #expect(arguments.operands == ["a", "b"])
    }

    @Test func readsJoinedSwitches() throws {
        let arguments = try parse(["-qt2", "a"])
        #expect(try arguments.has(option("quiet")))
        #expect(try arguments.integer(option("threads")) == 2)
    }

    @Test func usesTheFallbackOfAnOptionNotGiven() throws {
        let arguments = try parse(["a"])
        #expect(try arguments.text(option("output")) == "text")
        #expect(try arguments.integer(option("threads")) == nil)
        #expect(try !arguments.has(option("output")))
        #expect(try arguments.texts(option("path")).isEmpty)
    }

    @Test func keepsEveryValueOfARepeatableOption() throws {
        let arguments = try parse(["--path", "x", "a", "--path="])
        #expect(try arguments.texts(option("path")) == ["x", ""])
    }

    @Test func takesEverythingBehindTwoDashesAsOperands() throws {
        #expect(try parse(["--", "-q", "--help"]).operands == ["-q", "--help"])
    }

    @Test func takesASingleDashAsAnOperand() throws {
        #expect(try parse(["-"]).operands == ["-"])
    }

    @Test(arguments: [["--help"], ["-h"], ["a", "-h"], ["-q", "--help", "--nonsense"]])
    func answersHelpBeforeItLooksFurther(words: [String]) throws {
        #expect(try sample.parse(words) == .help)
    }

    @Test(arguments: [
        (["--treads", "8", "a"], "unknown option '--treads'; did you mean '--threads'?"),
        (["--output-format=x", "a"], "unknown option '--output-format'"),
        (["--log", "x", "a"], "option '--log' is ambiguous: it could be --log-file, --log-level"),
        (["-x", "a"], "unknown option '-x'"),
        (["a", "--threads"], "option '--threads' needs a value: --threads N"),
        (["a", "-t"], "option '--threads' needs a value: --threads N"),
        (["--quiet=yes", "a"], "option '--quiet' takes no value"),
        (["-t", "0", "a"], "option '--threads' needs a number from 1 to 64, not '0'"),
        (["-t", "65", "a"], "option '--threads' needs a number from 1 to 64, not '65'"),
        (["-t", "two", "a"], "option '--threads' needs a number from 1 to 64, not 'two'"),
        (
            ["-t", "99999999999999999999", "a"],
            "option '--threads' needs a number from 1 to 64, not '99999999999999999999'"
        ),
        (
            ["-o", "jsno", "a"],
            "option '--output' must be one of text, json, not 'jsno'; did you mean 'json'?"
        ),
        (["-o", "", "a"], "option '--output' must be one of text, json, not ''"),
        (["--log-file=", "a"], "option '--log-file' needs a path, not ''"),
        (["-t", "1", "-t", "2", "a"], "option '--threads' is given twice; give it once"),
        ([], "SOURCE is missing"),
        (["a", "b", "c"], "unexpected argument 'c'"),
        (["a", ""], "TARGET needs a path, not ''"),
        (["--sécret", "a"], "unknown option '--sécret'"),
    ])
    func refusesWithAMessageThatSaysWhatToDo(words: [String], message: String) {
        #expect(throws: UsageError(message)) { try sample.parse(words) }
    }

    @Test func neverTrapsOnWordsMadeAtRandom() {
        var generator = SystemRandomNumberGenerator()
        let parts = [
            "-", "--", "=", "t", "q", "help", "threads", "log", "9", "\u{E9}", ":", "?", ";",
        ]
        for _ in 0..<2000 {
            let words = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
                (0..<Int.random(in: 0...4, using: &generator))
                    .compactMap { _ in parts.randomElement(using: &generator) }.joined()
            }
            _ = try? sample.parse(words)
        }
    }
}

@Suite("Nearest name")
struct NearestNameTests {
    @Test(arguments: [
        ("convrt", "convert"), ("conevrt", "convert"), ("chek", "check"), ("monut", "mount"),
        ("convertt", "convert"),
    ])
    func findsWhatASlipWasMeantToBe(mistyped: String, meant: String) {
        #expect(NearestName.find(mistyped, in: ["convert", "check", "mount"]) == meant)
    }

    @Test(arguments: ["", "x", "prefetch", "gc", String(repeating: "convert", count: 1000)])
    func staysSilentWhereNothingIsNear(mistyped: String) {
        #expect(NearestName.find(mistyped, in: ["convert", "check", "mount"]) == nil)
    }

    @Test(arguments: [
        ("", "", 0), ("abc", "", 3), ("", "abc", 3), ("ab", "ba", 1), ("ca", "abc", 3),
    ])
    func countsEdits(source: String, target: String, edits: Int) {
        #expect(NearestName.edits(from: source, to: target) == edits)
    }
}
