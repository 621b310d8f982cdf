// SPDX-License-Identifier: Apache-2.0

import CSQLite

/// A call of SQLite's that failed: on which file, in which statement, and SQLite's reason.
package struct DatabaseError: Error, Sendable, CustomStringConvertible {
    /// What a program does about it.
    package enum Kind: Sendable, Equatable {
        /// The file is damaged, or no database.
        case corrupt
        /// A newer program has made the file, with the version that is found.
        case tooNew(found: Int, known: Int)
        /// No room on the disk, or in a quota.
        case full
        /// Another process holds the file.
        case busy
        /// The statement would break a rule of the tables.
        case constraint
        /// Everything else.
        case other
    }

    /// What a program does about it.
    package var kind: Kind
    /// The database's path.
    package var file: String
    /// The statement, if one ran.
    package var statement: String?
    /// The reason in words.
    package var message: String

    package var description: String {
        let place = statement.map { "\(file): \($0)" } ?? file
        return "\(place): \(message)"
    }

    /// The error of SQLite's result code (sqlite.org/rescode.html), which may be an extended one.
    init(code: Int32, file: String, statement: String?, message: String) {
        kind = Self.kind(of: code)
        self.file = file
        // Of a statement over several lines, one that reads well in a log.
        self.statement = statement.map {
            $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }
        self.message = "\(message) (SQLite \(code))"
    }

    init(_ kind: Kind, file: String, _ message: String) {
        self.kind = kind
        self.file = file
        self.message = message
    }

    private static func kind(of code: Int32) -> Kind {
        switch code & 0xff {
        case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt
        case SQLITE_FULL: .full
        case SQLITE_BUSY, SQLITE_LOCKED: .busy
        case SQLITE_CONSTRAINT: .constraint
        default: .other
        }
    }
}
