// SPDX-License-Identifier: Apache-2.0
//
// Database: a thin owner of SQLite connections, statements, transactions and migrations.

import CSQLite

/// A connection to a database file; closed with its last reference.
///
/// One thread uses it at a time. What is committed is on storage: the write-ahead log is synced by
/// every commit (`synchronous=FULL`), because whoever was told that something is done acts on it,
/// and after a power cut must not know more than we do. A second connection reads, at any time, the
/// state before a transaction that is under way.
@safe
package final class Connection {
    /// The file's path.
    package let path: String
    let handle: OpaquePointer
    /// Statements that nobody uses, by their text.
    private var idle: [String: StatementHandle] = [:]

    /// How long another process, as a person's `sqlite3`, is waited for.
    private static let busyMilliseconds: Int32 = 5_000

    /// With so many pages in the write-ahead log, a commit brings it into the file: 16 MB.
    private static let mostLogPages = 4_000

    /// Opens a database, and makes the file if there is none.
    ///
    /// - Parameters:
    ///   - path: the file; SQLite keeps `path-wal` and `path-shm` beside it.
    ///   - applicationID: marks the file as ours; one with another mark is refused as corrupt.
    /// - Throws: `DatabaseError`.
    package init(_ path: String, applicationID: Int32) throws(DatabaseError) {
        var opened: OpaquePointer?
        // Its own user keeps other threads out.
        let flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = unsafe sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let handle = unsafe opened else {
            let message = unsafe Self.message(opened, code)
            unsafe sqlite3_close_v2(opened)
            throw DatabaseError(code: code, file: path, statement: nil, message: message)
        }
        unsafe self.handle = handle
        self.path = path
        unsafe sqlite3_busy_timeout(handle, Self.busyMilliseconds)
        try execute("PRAGMA journal_mode=WAL")
        try execute("PRAGMA synchronous=FULL")
        try execute("PRAGMA foreign_keys=ON")
        // Rarely by a commit, whose caller waits: see `checkpoint`.
        try execute("PRAGMA wal_autocheckpoint=\(Self.mostLogPages)")
        try checkMark(applicationID)
    }

    deinit {
        idle = [:]
        unsafe sqlite3_close_v2(handle)
    }

    private func checkMark(_ applicationID: Int32) throws(DatabaseError) {
        let found = try pragma("application_id")
        if found == 0, try pragma("schema_version") == 0 {
            try execute("PRAGMA application_id=\(applicationID)")
        } else if found != Int64(applicationID) {
            throw DatabaseError(.corrupt, file: path, "a database of another program")
        }
    }

    /// The number that a pragma gives; 0 if it gives none.
    func pragma(_ name: String) throws(DatabaseError) -> Int64 {
        let statement = try prepare("PRAGMA \(name)")
        return try statement.step() ? statement.integer(0) : 0
    }

    static func message(_ handle: OpaquePointer?, _ code: Int32) -> String {
        if let handle = unsafe handle, let text = unsafe sqlite3_errmsg(handle) {
            return unsafe String(cString: text)
        }
        guard let text = unsafe sqlite3_errstr(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }

    func error(_ code: Int32, _ statement: String?) -> DatabaseError {
        DatabaseError(
            code: code,
            file: path,
            statement: statement,
            message: unsafe Self.message(handle, code)
        )
    }

    /// Runs statements without values, separated by semicolons.
    ///
    /// - Throws: `DatabaseError`.
    package func execute(_ text: String) throws(DatabaseError) {
        let code = unsafe sqlite3_exec(handle, text, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code, text) }
    }

    /// A statement ready to run.
    ///
    /// - Parameters:
    ///   - text: one statement of SQL, a constant: it is parsed once for all its uses.
    ///   - values: for its question marks, in their order.
    /// - Returns: the statement, before its first row.
    /// - Throws: `DatabaseError`.
    package func prepare(
        _ text: String,
        _ values: DatabaseValue...
    ) throws(DatabaseError) -> Statement {
        let handle: StatementHandle
        if let found = idle.removeValue(forKey: text) {
            handle = found
        } else {
            handle = try StatementHandle(text, self)
        }
        for (index, value) in values.enumerated() {
            try handle.bind(value, at: index, self)
        }
        return Statement(handle, self)
    }

    /// Runs a statement that gives no rows.
    ///
    /// - Returns: how many rows it changed.
    /// - Throws: `DatabaseError`.
    @discardableResult
    package func run(_ statement: consuming Statement) throws(DatabaseError) -> Int {
        while try statement.step() {}
        return unsafe Int(sqlite3_changes(handle))
    }

    func giveBack(_ statement: StatementHandle) {
        statement.reset()
        idle[statement.text] = statement
    }

    /// Runs the body in a transaction that may write: all of it is on storage when this returns, or
    /// nothing happened.
    ///
    /// - Parameters:
    ///   - isDurable: false for what a power cut may take back; a death of the process may not.
    ///   - body: uses this connection.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws, or `DatabaseError`; nothing is changed then.
    package func transaction<T>(isDurable: Bool = true, _ body: () throws -> T) throws -> T {
        if !isDurable { try execute("PRAGMA synchronous=NORMAL") }
        defer { if !isDurable { try? execute("PRAGMA synchronous=FULL") } }
        // At once a writer: one that reads first and then finds another writer would have to fail.
        try run(prepare("BEGIN IMMEDIATE"))
        do {
            let result = try body()
            try run(prepare("COMMIT"))
            return result
        } catch {
            // SQLite may have rolled back by itself, as on a full disk.
            if unsafe sqlite3_get_autocommit(handle) == 0 { try? execute("ROLLBACK") }
            throw error
        }
    }

    /// Runs reads that all see one state of the database.
    ///
    /// - Parameter body: uses this connection.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws, or `DatabaseError`.
    package func snapshot<T>(_ body: () throws -> T) throws -> T {
        try run(prepare("BEGIN"))
        // Nothing was written: there is nothing to fail.
        defer { _ = try? run(prepare("COMMIT")) }
        return try body()
    }

    /// Brings what is in the write-ahead log into the file, as far as no reader needs it, so that the
    /// log begins anew.
    ///
    /// - Throws: `DatabaseError`.
    package func checkpoint() throws(DatabaseError) {
        try execute("PRAGMA wal_checkpoint(PASSIVE)")
    }

    /// Looks at every page of the file.
    ///
    /// - Throws: `DatabaseError` of the kind `corrupt` with the first finding.
    package func checkIntegrity() throws(DatabaseError) {
        let statement = try prepare("PRAGMA quick_check(1)")
        guard try statement.step(), case let finding = statement.text(0), finding != "ok" else {
            return
        }
        throw DatabaseError(.corrupt, file: path, finding)
    }
}
