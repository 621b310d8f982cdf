// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Arguments

@Suite("Help and completions")
struct HelpTests {
    @Test func printsTheWholeDeclaration() {
        #expect(
            sample.help(program: "lazypull sample") == """
                Usage: lazypull sample [OPTION]... SOURCE [TARGET]

                Show what options can be.

                Operands:
                  SOURCE                      Where from.
                  TARGET                      Where to.

                Options:
                  -t, --threads N             Threads.
                  -q, --quiet                 Print nothing.
                  -o, --output FORMAT         The form. (one of text, json; default: text)
                      --log-file FILE         The log.
                      --log-level LEVEL       The level.
                      --path PATH             A path. (may be given more than once)
                  -h, --help                  Print this help and exit.

                """
        )
    }

    @Test func wrapsAtEightyColumnsAndBreaksAfterLongNames() {
        let long = Array(repeating: "word", count: 40).joined(separator: " ")
        let text = HelpText.table([(String(repeating: "n", count: 28), long), ("short", long)])
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(lines[0] == "  " + String(repeating: "n", count: 28))
        #expect(lines[1].hasPrefix(String(repeating: " ", count: 30) + "word"))
        #expect(
            lines.contains { $0.hasPrefix("  short" + String(repeating: " ", count: 23) + "word") }
        )
    }

    @Test func offersOptionsValuesAndOperands() {
        let script = BashCompletions.script(
            program: "lazypull",
            words: ["--version"],
            syntaxes: [sample]
        )
        #expect(script.contains("complete -F _lazypull lazypull lazypull-sample\n"))
        #expect(script.contains("compgen -W 'sample --version'"))
        #expect(script.contains("--output|-o) COMPREPLY=($(compgen -W 'text json' -- \"$word\"))"))
        #expect(script.contains("--quiet"))
        #expect(!script.contains("--secret"))
    }

    @Test func givesEveryExitCodeItsOwnNumber() {
        #expect(Set(ExitCode.allCases.map(\.rawValue)).count == ExitCode.allCases.count)
        // Above 125 the shell's own codes begin; between 3 and 63 other programs have theirs.
        let named = ExitCode.allCases.filter { $0.rawValue > 2 }
        #expect(named.allSatisfy { (64...125).contains($0.rawValue) })
    }
}
