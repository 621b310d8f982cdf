// SPDX-License-Identifier: Apache-2.0

import Database
import TestSupport
import Testing

private let mark: Int32 = 0x7465_7374

private func open(_ directory: borrowing TemporaryDirectory) throws -> Connection {
    try Connection("\(directory.path)/test.db", applicationID: mark)
}

private func count(_ connection: Connection) throws -> Int64 {
    let statement = try connection.prepare("SELECT count(*) FROM words")
    _ = try statement.step()
    return statement.integer(0)
}

private struct Refusal: Error {}

@Suite("Database connections")
struct ConnectionTests {
    private static let words = [Migration("CREATE TABLE words (word TEXT UNIQUE, number INTEGER)")]

    private func add(_ word: String, _ number: Int64?, _ connection: Connection) throws {
        try connection.run(
            connection.prepare(
                "INSERT INTO words VALUES (?, ?)",
                .text(word),
                .optional(number)
            )
        )
    }

    @Test func valuesComeBackAsTheyWent() throws {
        let directory = TemporaryDirectory()
        let connection = try open(directory)
        try connection.migrate(Self.words)
        let texts = ["", "a\0b", "żółw 🐢", String(repeating: "x", count: 100_000)]
        for (index, text) in texts.enumerated() {
            try add(text, index == 0 ? nil : .min + Int64(index), connection)
        }
        let rows = try connection.prepare("SELECT word, number FROM words ORDER BY rowid")
        for (index, text) in texts.enumerated() {
            #expect(try rows.step())
            #expect(rows.text(0) == text)
            #expect(rows.isNull(1) == (index == 0))
            #expect(rows.integer(1) == (index == 0 ? 0 : .min + Int64(index)))
        }
        #expect(try !rows.step())
    }

    @Test func aFailedTransactionChangesNothing() throws {
        let directory = TemporaryDirectory()
        let connection = try open(directory)
        try connection.migrate(Self.words)
        #expect(throws: Refusal.self) {
            try connection.transaction {
                try add("one", 1, connection)
                throw Refusal()
            }
        }
        let error = #expect(throws: DatabaseError.self) {
            try connection.transaction {
                try add("two", 2, connection)
                try add("two", 2, connection)
            }
        }
        #expect(error?.kind == .constraint)
        #expect(error?.file == "\(directory.path)/test.db")
        #expect(error?.statement == "INSERT INTO words VALUES (?, ?)")
        #expect(error?.description.contains("UNIQUE constraint failed: words.word") == true)
        #expect(try count(connection) == 0)
        try connection.transaction { try add("three", 3, connection) }
        #expect(try count(connection) == 1)
    }

    @Test func aReaderSeesTheStateBeforeATransactionUnderWay() throws {
        let directory = TemporaryDirectory()
        let writer = try open(directory)
        try writer.migrate(Self.words)
        let reader = try open(directory)
        try writer.transaction {
            try add("one", 1, writer)
            #expect(try count(reader) == 0)
        }
        #expect(try count(reader) == 1)
    }

    @Test func oneStatementMayRunTwiceAtOnce() throws {
        let directory = TemporaryDirectory()
        let connection = try open(directory)
        try connection.migrate(Self.words)
        for number in 1...3 { try add("\(number)", Int64(number), connection) }
        let outer = try connection.prepare("SELECT number FROM words ORDER BY number")
        var seen: [Int64] = []
        while try outer.step() {
            let inner = try connection.prepare("SELECT number FROM words ORDER BY number")
            _ = try inner.step()
            seen.append(outer.integer(0) * 10 + inner.integer(0))
        }
        #expect(seen == [11, 21, 31])
    }

    @Test func everyCommitIsSynced() throws {
        let directory = TemporaryDirectory()
        let connection = try open(directory)
        try connection.migrate(Self.words)
        func pragma(_ name: String) throws -> String {
            let statement = try connection.prepare("PRAGMA \(name)")
            _ = try statement.step()
            return statement.text(0)
        }
        #expect(try pragma("journal_mode") == "wal")
        #expect(try pragma("synchronous") == "2")
        try connection.transaction(isDurable: false) { try add("one", 1, connection) }
        #expect(try pragma("synchronous") == "2")
        #expect(try pragma("foreign_keys") == "1")
    }
}

@Suite("Database files")
struct DatabaseFileTests {
    private static let steps = [
        Migration("CREATE TABLE first (x)"), Migration("CREATE TABLE second (x); DROP TABLE first"),
    ]

    @Test func stepsRunOnceEach() throws {
        let directory = TemporaryDirectory()
        try open(directory).migrate([Self.steps[0]])
        let connection = try open(directory)
        try connection.migrate(Self.steps)
        try connection.migrate(Self.steps)
        try connection.execute("SELECT x FROM second")
    }

    @Test func aFailedStepLeavesTheVersionBefore() throws {
        let directory = TemporaryDirectory()
        let broken = Migration("CREATE TABLE third (x); CREATE TABLE third (x)")
        #expect(throws: DatabaseError.self) {
            try open(directory).migrate(Self.steps + [broken])
        }
        let connection = try open(directory)
        try connection.migrate(Self.steps + [Migration("CREATE TABLE third (x)")])
        try connection.execute("SELECT x FROM third")
    }

    @Test func aNewerVersionIsRefusedInWords() throws {
        let directory = TemporaryDirectory()
        try open(directory).migrate(Self.steps)
        let error = #expect(throws: DatabaseError.self) {
            try open(directory).migrate([Self.steps[0]])
        }
        #expect(error?.kind == .tooNew(found: 2, known: 1))
        #expect(
            error?.description
                == "\(directory.path)/test.db: version 2 of the database, made by a newer lazypull;"
                + " this one knows versions up to 1"
        )
    }

    @Test func anotherProgramsDatabaseIsRefused() throws {
        let directory = TemporaryDirectory()
        try Connection("\(directory.path)/test.db", applicationID: 7).execute("CREATE TABLE t (x)")
        let error = #expect(throws: DatabaseError.self) { _ = try open(directory) }
        #expect(error?.kind == .corrupt)
    }

    @Test func whatIsNoDatabaseIsCorrupt() throws {
        let directory = TemporaryDirectory()
        directory.write("test.db", [UInt8](repeating: 0x41, count: 8192))
        let error = #expect(throws: DatabaseError.self) { _ = try open(directory) }
        #expect(error?.kind == .corrupt)
        #expect(error?.description.contains("not a database") == true)
    }

    @Test func aDamagedPageIsFound() throws {
        let directory = TemporaryDirectory()
        do {
            let connection = try open(directory)
            try connection.migrate(Self.steps)
            for _ in 0..<200 {
                try connection.execute("INSERT INTO second VALUES (hex(randomblob(200)))")
            }
            try connection.checkIntegrity()
        }
        var bytes = directory.read("test.db")
        for index in 5 * 4096..<7 * 4096 { bytes[index] ^= 0xff }
        directory.write("test.db", bytes)
        let error = #expect(throws: DatabaseError.self) {
            try open(directory).checkIntegrity()
        }
        #expect(error?.kind == .corrupt)
    }

    @Test func missingDirectoriesAreNamed() {
        let error = #expect(throws: DatabaseError.self) {
            _ = try Connection("/no/such/place/x.db", applicationID: mark)
        }
        #expect(error?.description.hasPrefix("/no/such/place/x.db: ") == true)
    }
}
