// SPDX-License-Identifier: Apache-2.0

package import Containerd
import Content
import Database

/// The tables as seen by one reader, or changed by one transaction.
struct StoreRows {
    private let connection: Connection
    /// Told of what is changed.
    private let changes: RowChanges

    init(_ connection: Connection, _ changes: RowChanges) {
        self.connection = connection
        self.changes = changes
    }

    private static let columns = """
        SELECT s.id, s.name, s.parent, s.kind, s.created_at, s.updated_at, s.size, s.inodes, p.name,
        s.image, s.reference, s.layer
        FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent
        """

    /// The snapshot of a name; nil if there is none.
    func snapshot(_ name: String) throws(DatabaseError) -> NamedRecord? {
        try first(connection.prepare(Self.columns + " WHERE s.name = ?", .text(name)))
    }

    /// The snapshot of a number; nil if there is none.
    func snapshot(id: Int64) throws(DatabaseError) -> NamedRecord? {
        try first(connection.prepare(Self.columns + " WHERE s.id = ?", .integer(id)))
    }

    /// The snapshots with the lowest numbers above one.
    ///
    /// - Parameters:
    ///   - id: the number that all of them are above.
    ///   - limit: how many at most.
    /// - Returns: them, by their numbers.
    /// - Throws: `DatabaseError`.
    func snapshots(after id: Int64, limit: Int) throws(DatabaseError) -> [NamedRecord] {
        let statement = try connection.prepare(
            Self.columns + " WHERE s.id > ? ORDER BY s.id LIMIT ?",
            .integer(id),
            .integer(Int64(limit))
        )
        var found: [NamedRecord] = []
        while try statement.step() { found.append(try record(statement)) }
        return found
    }

    private func first(_ statement: consuming Statement) throws(DatabaseError) -> NamedRecord? {
        try statement.step() ? record(statement) : nil
    }

    /// What makes a snapshot lazy, in three columns; nil for an ordinary one.
    private static func lazy(_ row: borrowing Statement, at column: Int32) -> LazyLayer? {
        guard !row.isNull(column), let image = Digest(oci: row.text(column)) else { return nil }
        return LazyLayer(
            image: image,
            reference: row.text(column + 1),
            index: Int(clamping: max(0, row.integer(column + 2)))
        )
    }

    private func record(_ row: borrowing Statement) throws(DatabaseError) -> NamedRecord {
        let id = row.integer(0)
        // The tables hold no other kinds.
        let kind = SnapshotInfo.Kind(rawValue: Int32(clamping: row.integer(3))) ?? .view
        let usage =
            row.isNull(6) ? nil : SnapshotUsage(inodes: row.integer(7), size: row.integer(6))
        let record = SnapshotRecord(
            id: id,
            name: row.text(1),
            parentID: row.isNull(2) ? nil : row.integer(2),
            kind: kind,
            createdAt: row.integer(4),
            updatedAt: row.integer(5),
            labels: try labels(of: id),
            usage: usage,
            lazy: Self.lazy(row, at: 9)
        )
        return NamedRecord(record: record, parent: row.text(8))
    }

    private func labels(of id: Int64) throws(DatabaseError) -> [String: String] {
        let statement = try connection.prepare(
            "SELECT name, value FROM labels WHERE snapshot = ?",
            .integer(id)
        )
        var labels: [String: String] = [:]
        while try statement.step() { labels[statement.text(0)] = statement.text(1) }
        return labels
    }

    /// The numbers of all snapshots.
    func ids() throws(DatabaseError) -> Set<Int64> {
        let statement = try connection.prepare("SELECT id FROM snapshots")
        var ids: Set<Int64> = []
        while try statement.step() { ids.insert(statement.integer(0)) }
        return ids
    }

    /// The highest number that was ever used; 0 for none.
    func highestID() throws(DatabaseError) -> Int64 {
        let statement = try connection.prepare(
            "SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'"
        )
        return try statement.step() ? statement.integer(0) : 0
    }

    /// A snapshot as one of a chain; nil if there is none of the number.
    func link(_ id: Int64) throws(DatabaseError) -> ChainLink? {
        let statement = try connection.prepare(
            "SELECT parent, kind, image, reference, layer FROM snapshots WHERE id = ?",
            .integer(id)
        )
        guard try statement.step() else { return nil }
        return ChainLink(
            id: id,
            parentID: statement.isNull(0) ? nil : statement.integer(0),
            isCommitted: statement.integer(1) == Int64(SnapshotInfo.Kind.committed.rawValue),
            lazy: Self.lazy(statement, at: 2)
        )
    }

    /// Whether snapshots have the files of an image.
    func hasSnapshots(of image: Digest) throws(DatabaseError) -> Bool {
        try connection.prepare(
            "SELECT 1 FROM snapshots WHERE image = ? LIMIT 1",
            .text(image.oci)
        ).step()
    }

    /// Whether a lazy snapshot was made for a chain ID on that parent; nil for none.
    func hasLazySnapshot(_ chainID: Digest, on parent: Int64?) throws(DatabaseError) -> Bool {
        try connection.prepare(
            """
            SELECT 1 FROM snapshots s JOIN labels l ON l.snapshot = s.id AND l.name = ?
            WHERE s.parent IS ? AND s.image IS NOT NULL AND l.value = ? LIMIT 1
            """,
            .text(SnapshotLabels.target),
            .optional(parent),
            .text(chainID.oci)
        ).step()
    }

    /// The images whose files containers may be using: those below active snapshots and views.
    func imagesInUse() throws(DatabaseError) -> Set<Digest> {
        let statement = try connection.prepare(
            """
            WITH RECURSIVE used (id) AS (
                SELECT parent FROM snapshots WHERE kind <> ? AND parent IS NOT NULL
                UNION
                SELECT s.parent FROM used JOIN snapshots s ON s.id = used.id
                WHERE s.image IS NULL AND s.parent IS NOT NULL
            )
            SELECT DISTINCT s.image FROM used JOIN snapshots s ON s.id = used.id
            WHERE s.image IS NOT NULL
            """,
            .integer(Int64(SnapshotInfo.Kind.committed.rawValue))
        )
        var images: Set<Digest> = []
        while try statement.step() {
            if let image = Digest(oci: statement.text(0)) { images.insert(image) }
        }
        return images
    }

    /// Whether a snapshot is the parent of another.
    func hasChildren(_ id: Int64) throws(DatabaseError) -> Bool {
        try connection.prepare(
            "SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1",
            .integer(id)
        ).step()
    }

    /// Adds a snapshot.
    func insert(_ named: NamedRecord) throws(DatabaseError) {
        try insertRow(named.record)
        changes.note(named)
    }

    private func insertRow(_ record: SnapshotRecord) throws(DatabaseError) {
        try connection.run(
            connection.prepare(
                """
                INSERT INTO snapshots
                (id, name, parent, kind, created_at, updated_at, size, inodes,
                image, reference, layer)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                .integer(record.id),
                .text(record.name),
                .optional(record.parentID),
                .integer(Int64(record.kind.rawValue)),
                .integer(record.createdAt),
                .integer(record.updatedAt),
                .optional(record.usage?.size),
                .optional(record.usage?.inodes),
                record.lazy.map { .text($0.image.oci) } ?? .null,
                record.lazy.map { .text($0.reference) } ?? .null,
                .optional(record.lazy.map { Int64($0.index) })
            )
        )
        try insertLabels(record)
    }

    /// Adds snapshots in any order: a parent may come after its child.
    func insertAll(_ records: [SnapshotRecord]) throws(DatabaseError) {
        try connection.execute("PRAGMA defer_foreign_keys=ON")
        for record in records { try insertRow(record) }
    }

    /// Gives the row of a number the record's values.
    func replace(_ named: NamedRecord) throws(DatabaseError) {
        let record = named.record
        try connection.run(
            connection.prepare(
                """
                UPDATE snapshots SET name = ?, parent = ?, kind = ?, created_at = ?,
                updated_at = ?, size = ?, inodes = ? WHERE id = ?
                """,
                .text(record.name),
                .optional(record.parentID),
                .integer(Int64(record.kind.rawValue)),
                .integer(record.createdAt),
                .integer(record.updatedAt),
                .optional(record.usage?.size),
                .optional(record.usage?.inodes),
                .integer(record.id)
            )
        )
        try connection.run(
            connection.prepare("DELETE FROM labels WHERE snapshot = ?", .integer(record.id))
        )
        try insertLabels(record)
        changes.note(named)
    }

    private func insertLabels(_ record: SnapshotRecord) throws(DatabaseError) {
        for (name, value) in record.labels {
            try connection.run(
                connection.prepare(
                    "INSERT INTO labels (snapshot, name, value) VALUES (?, ?, ?)",
                    .integer(record.id),
                    .text(name),
                    .text(value)
                )
            )
        }
    }

    /// Takes a snapshot away, with its labels.
    func delete(id: Int64) throws(DatabaseError) {
        try connection.run(
            connection.prepare("DELETE FROM snapshots WHERE id = ?", .integer(id))
        )
        changes.noteRemoval(of: id)
    }

    /// How many snapshots there are of each kind, and what the measured ones take in bytes.
    func summary() throws(DatabaseError) -> SnapshotSummary {
        let statement = try connection.prepare(
            "SELECT kind, count(*), coalesce(sum(size), 0) FROM snapshots GROUP BY kind"
        )
        var summary = SnapshotSummary()
        while try statement.step() {
            let kind = SnapshotInfo.Kind(rawValue: Int32(clamping: statement.integer(0)))
            summary.counts[kind ?? .view] = Int(clamping: statement.integer(1))
            summary.committedBytes += statement.integer(2)
        }
        return summary
    }
}

/// What there is, in numbers.
package struct SnapshotSummary: Sendable, Equatable {
    /// How many snapshots there are of each kind; none of those that are missing.
    package var counts: [SnapshotInfo.Kind: Int] = [:]
    /// What committed snapshots take, in bytes, as far as they are measured.
    package var committedBytes: Int64 = 0
}
