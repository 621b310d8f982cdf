// SPDX-License-Identifier: Apache-2.0

import Content
import TOML
import Testing

@Suite("TOML")
struct TOMLValueTests {
    private func parse(_ text: String) throws -> [TOMLEntry] {
        let value = try TOMLValue(parsing: Array(text.utf8), path: "hosts.toml")
        guard case .table(let entries) = value.kind else { return [] }
        return entries
    }

    @Test func readsValuesOfEveryKind() throws {
        let entries = try parse(
            """
            text = "a\\u00e4"
            number = -7
            fraction = 0.5
            yes = true
            list = ["a", 1]
            day = 2026-01-31

            [table]
            key = 'value'
            """
        )
        #expect(
            entries.map(\.key) == ["text", "number", "fraction", "yes", "list", "day", "table"]
        )
        #expect(entries[0].value.kind == .string("aä"))
        #expect(entries[1].value.kind == .integer(-7))
        #expect(entries[2].value.kind == .number(0.5))
        #expect(entries[3].value.kind == .boolean(true))
        guard case .array(let list) = entries[4].value.kind else { throw ContentError.corrupt("") }
        #expect(list.map(\.kind) == [.string("a"), .integer(1)])
        #expect(entries[5].value.kind == .moment)
        guard case .table(let table) = entries[6].value.kind else { throw ContentError.corrupt("") }
        #expect(table.first?.value.kind == .string("value"))
        #expect(table.first?.value.line == 9)
    }

    @Test func keepsTheOrderOfTheDocument() throws {
        let entries = try parse("[z.\"https://b\"]\n[z.\"https://a\"]\n[z.\"https://c\"]\n")
        guard case .table(let hosts)? = entries.first?.value.kind else {
            throw ContentError.corrupt("no table")
        }
        #expect(hosts.map(\.key) == ["https://b", "https://a", "https://c"])
    }

    @Test func saysWhereATextIsNoTOML() throws {
        let error = #expect(throws: ContentError.self) { try parse("a = 1\nb = \n") }
        #expect(error?.message.hasPrefix("hosts.toml:2:5: ") == true, "\(error?.message ?? "")")
        #expect(throws: ContentError.self) { try parse("a = 1\na = 2\n") }
        #expect(throws: ContentError.self) {
            try parse("a = " + String(repeating: "[", count: 100_000))
        }
        #expect(throws: ContentError.self) {
            try TOMLValue(parsing: [UInt8](repeating: 0x20, count: 1 << 21), path: "large")
        }
    }

    @Test func readsNothingFromNothing() throws {
        #expect(try parse("").isEmpty)
    }
}
