// SPDX-License-Identifier: Apache-2.0

/// One step of a database's tables from a version to the next.
package struct Migration: Sendable {
    /// The statements, separated by semicolons.
    package let statements: String

    /// A step made of these statements.
    package init(_ statements: String) {
        self.statements = statements
    }
}

extension Connection {
    /// Refuses a file in which no migration has run: an empty one may be what a power cut left.
    ///
    /// - Throws: `DatabaseError` of the kind `corrupt`.
    package func requireTables() throws(DatabaseError) {
        guard try pragma("user_version") == 0 else { return }
        throw DatabaseError(.corrupt, file: path, "a database without tables")
    }

    /// Brings the tables to the newest version: the number of the migrations.
    ///
    /// The version stands in the file itself (`user_version`), and each step is one transaction with
    /// its number: after a death the rest is done by the next open.
    ///
    /// - Parameter migrations: all steps since the empty database, in their order; a step that was
    ///   released never changes.
    /// - Throws: `DatabaseError`: of the kind `tooNew` if the file has a version beyond them.
    package func migrate(_ migrations: [Migration]) throws {
        let version = Int(try pragma("user_version"))
        guard version <= migrations.count else {
            throw DatabaseError(
                .tooNew(found: version, known: migrations.count),
                file: path,
                "version \(version) of the database, made by a newer lazypull;"
                    + " this one knows versions up to \(migrations.count)"
            )
        }
        guard version >= 0 else {
            throw DatabaseError(.corrupt, file: path, "version \(version) of the database")
        }
        for (index, migration) in migrations.enumerated().dropFirst(version) {
            try transaction {
                try execute(migration.statements)
                try execute("PRAGMA user_version=\(index + 1)")
            }
        }
    }
}
