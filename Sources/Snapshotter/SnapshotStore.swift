// SPDX-License-Identifier: Apache-2.0

import Containerd
import Database
import Linux

/// The rows of all snapshots.
///
/// What a method has changed is on storage when it returns. Readers never wait for a writer's sync:
/// they have a connection of their own.
final class SnapshotStore: Sendable {
    /// `lpsn` in ASCII.
    static let applicationID: Int32 = 0x6c70_736e

    private let writer: Monitor<Connection>
    private let reader: Monitor<Connection>
    private let links = ChainLinks()
    private let recent = RecentRows()
    /// Told before every step that changes the database.
    private let steps: StepObserver

    /// Opens the database, or makes it, and looks through all of it.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - isNew: whether there may be no tables yet.
    ///   - steps: told before every change.
    /// - Throws: `DatabaseError`: of the kind `corrupt` if it is damaged, `tooNew` if a newer
    ///   program has made it.
    init(_ path: String, isNew: Bool, steps: StepObserver) throws {
        let connection = try Connection(path, applicationID: Self.applicationID)
        if !isNew { try connection.requireTables() }
        // Megabytes at most, so always: a process that was killed cannot say so.
        try connection.checkIntegrity()
        try connection.migrate(Self.migrations)
        writer = Monitor(connection)
        reader = Monitor(try Connection(path, applicationID: Self.applicationID))
        self.steps = steps
    }

    /// What the tables were made by, step by step; a released step never changes.
    private static let migrations = [
        Migration(
            """
            CREATE TABLE snapshots (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                name TEXT NOT NULL UNIQUE,
                parent INTEGER REFERENCES snapshots (id),
                kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                size INTEGER,
                inodes INTEGER
            ) STRICT;
            CREATE INDEX snapshots_parent ON snapshots (parent);
            CREATE TABLE labels (
                snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                value TEXT NOT NULL,
                PRIMARY KEY (snapshot, name)
            ) STRICT, WITHOUT ROWID;
            """
        ),
        // Of a lazy snapshot: the manifest's digest, where the image is, which of its layers.
        Migration(
            """
            ALTER TABLE snapshots ADD COLUMN image TEXT;
            ALTER TABLE snapshots ADD COLUMN reference TEXT;
            ALTER TABLE snapshots ADD COLUMN layer INTEGER;
            CREATE INDEX snapshots_image ON snapshots (image) WHERE image IS NOT NULL;
            """
        ),
    ]

    /// Moves the write-ahead log into the file, so that the next start finds it whole.
    func close() {
        writer.update { try? $0.execute("PRAGMA wal_checkpoint(TRUNCATE)") }
    }

    /// Moves the write-ahead log into the file, so that no caller has to wait for that.
    func checkpoint() throws {
        try writer.update { try $0.checkpoint() }
    }

    /// Runs reads, all of one state of the database.
    func read<T: Sendable>(_ body: (StoreRows) throws -> T) throws -> T {
        try reader.update { connection in
            let rows = StoreRows(connection, RowChanges())
            return try connection.snapshot { try body(rows) }
        }
    }

    /// The snapshot of a name; nil if there is none.
    func snapshot(_ name: String) throws -> NamedRecord? {
        let (known, mark) = recent.find(name)
        if let known { return known }
        guard let found = try read({ rows in try rows.snapshot(name) }) else { return nil }
        recent.keep(found, mark)
        return found
    }

    /// A snapshot and all below it, from the top.
    func chain(from id: Int64) throws -> [ChainLink] {
        try links.chain(from: id) { id in try read { rows in try rows.link(id) } }
    }

    /// Runs a transaction that is on storage when this returns.
    ///
    /// - Parameters:
    ///   - name: what it does, for the observer of steps.
    ///   - isDurable: false for what a power cut may take back.
    ///   - body: the changes.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws, or `DatabaseError`; nothing is changed then.
    func write<T: Sendable>(
        _ name: String,
        isDurable: Bool = true,
        _ body: (StoreRows) throws -> T
    ) throws -> T {
        try writer.update { connection in
            let changes = RowChanges()
            let rows = StoreRows(connection, changes)
            steps.willDo("begin \(name)")
            var isDone = false
            defer { recent.end(isDone ? changes : nil) }
            let result = try connection.transaction(isDurable: isDurable) {
                let result = try body(rows)
                steps.willDo("commit \(name)")
                recent.begin(changes)
                return result
            }
            isDone = true
            return result
        }
    }
}

/// Called before every step that leaves a trace on storage; tests end the process there.
package struct StepObserver: Sendable {
    /// Does nothing.
    package static let none = StepObserver(nil)

    private let body: (@Sendable (String) -> Void)?

    /// An observer that is told the name of every step.
    package init(_ body: (@Sendable (String) -> Void)?) {
        self.body = body
    }

    /// Tells the observer.
    func willDo(_ step: @autoclosure () -> String) {
        body?(step())
    }
}
