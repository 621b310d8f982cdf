// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@Suite("Manual pages")
struct ManualTests {
    /// The applets, as the program lists them.
    private func applets() throws -> [String] {
        let (text, code) = try Repository.shell("\(Repository.program()) --list")
        try #require(code == 0)
        let names = text.split(separator: "\n").map(String.init)
        try #require(!names.isEmpty)
        return names
    }

    /// The long options a help text declares: lines of its table that begin with a dash.
    private func options(ofHelp text: String) -> Set<String> {
        let lines = text.split(separator: "\n").map { $0.drop { $0 == " " } }
        return Set(lines.filter { $0.hasPrefix("-") }.flatMap { longOptions(in: $0) })
    }

    /// The long options a page declares, not those it mentions: `.It Fl t , Fl \-threads Ar N`.
    private func options(ofPage lines: [Substring]) -> Set<String> {
        let items = lines.filter { $0.hasPrefix(".It ") }
        let words = items.flatMap { $0.split(separator: " ") }
        return Set(words.filter { $0.hasPrefix("\\-") }.map { "--\($0.dropFirst(2))" })
    }

    /// The words with two dashes in a text.
    private func longOptions(in text: Substring) -> [String] {
        text.split { !$0.isLetter && !$0.isNumber && $0 != "-" }
            .filter { $0.hasPrefix("--") && $0.count > 2 }.map(String.init)
    }

    @Test func everyAppletHasAPageAndEveryPageAnApplet() throws {
        let pages = try Repository.files("man", named: "*.1")
        let wanted = try ["man/lazypull.1"] + applets().map { "man/lazypull-\($0).1" }
        #expect(Set(pages) == Set(wanted))
    }

    @Test func pagesAndHelpDeclareTheSameOptions() throws {
        let program = try Repository.program()
        for applet in try applets() {
            let help = try Repository.shell("\(program) help \(applet)").text
            let page = try Repository.lines("man/lazypull-\(applet).1")
            #expect(options(ofHelp: help) == options(ofPage: page), "\(applet)")
            #expect(options(ofHelp: help).contains("--help"), "\(applet)")
        }
        let help = try Repository.shell("\(program) --help").text
        #expect(options(ofHelp: help) == options(ofPage: try Repository.lines("man/lazypull.1")))
    }

    /// Each key of a table bears the name of an option of that applet; see `MountCommand`.
    @Test func everyKeyOfTheConfigurationIsAnOption() throws {
        let page = try Repository.lines("man/lazypull-config.5")
            .drop { $0 != ".Sh THE TABLE MOUNT" }.dropFirst().prefix { !$0.hasPrefix(".Sh ") }
        let items = page.filter { $0.hasPrefix(".It Cm ") }
        let keys = items.compactMap { $0.split(separator: " ").dropFirst(2).first }
        let help = try Repository.shell("\(Repository.program()) help mount").text
        let own = ["config", "foreground", "help", "layers", "platform"].map { "--\($0)" }
        #expect(Set(keys.map { "--\($0)" }) == options(ofHelp: help).subtracting(own))
    }

    @Test func pageAndHelpHoldTheSameExitCodes() throws {
        let help = try Repository.shell("\(Repository.program()) --help").text
        let table = help.split(separator: "\n").drop { $0 != "Exit codes:" }.dropFirst()
        let fromHelp = table.compactMap { $0.split(separator: " ").first.flatMap { Int32($0) } }
        let page = try Repository.lines("man/lazypull.1").drop { $0 != ".Sh EXIT STATUS" }
        let fromPage = page.filter { $0.hasPrefix(".It ") }.compactMap { Int32($0.dropFirst(4)) }
        #expect(fromHelp == fromPage)
        #expect(fromHelp.count > 5)
    }

    @Test func pagesAreWellFormed() throws {
        for page in try Repository.files("man", named: "*.[15]") {
            let lines = try Repository.lines(page)
            for section in [".Sh NAME", ".Sh SYNOPSIS", ".Sh DESCRIPTION", ".Sh EXIT STATUS"] {
                #expect(lines.contains(section[...]), "\(page) lacks \(section)")
            }
            #expect(
                lines.allSatisfy { $0 == $0.trimmingTrailingSpaces },
                "\(page): spaces at an end"
            )
            guard try Repository.shell("command -v groff").code == 0 else { continue }
            let messages = try Repository.shell("groff -mandoc -ww -z -Tutf8 \(page) 2>&1").text
            #expect(messages.isEmpty, "\(page): \(messages)")
        }
    }

    @Test func nearbyFilesKnowTheVersion() throws {
        let version = try Repository.shell("\(Repository.program()) --version").text.trimmed
        let number = try #require(version.split(separator: " ").last)
        #expect(try Repository.text("CHANGELOG.md").contains("\n## \(number)\n"))
    }
}

extension Substring {
    /// The text without spaces at its end.
    fileprivate var trimmingTrailingSpaces: Substring {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
