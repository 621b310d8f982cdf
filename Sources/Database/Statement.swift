// SPDX-License-Identifier: Apache-2.0

import CSQLite

/// A value for a statement.
package enum DatabaseValue: Sendable, Equatable {
    case null
    case integer(Int64)
    case text(String)

    /// Text, or null.
    package static func optional(_ text: String?) -> DatabaseValue {
        text.map { .text($0) } ?? .null
    }

    /// A number, or null.
    package static func optional(_ number: Int64?) -> DatabaseValue {
        number.map { .integer($0) } ?? .null
    }
}

/// A parsed statement of SQLite's, freed with its last reference.
@safe
final class StatementHandle {
    let text: String
    let pointer: OpaquePointer

    init(_ text: String, _ connection: Connection) throws(DatabaseError) {
        var prepared: OpaquePointer?
        let code = unsafe sqlite3_prepare_v3(
            connection.handle,
            text,
            -1,
            UInt32(SQLITE_PREPARE_PERSISTENT),
            &prepared,
            nil
        )
        guard code == SQLITE_OK, let pointer = unsafe prepared else {
            throw connection.error(code, text)
        }
        self.text = text
        unsafe self.pointer = pointer
    }

    deinit {
        unsafe sqlite3_finalize(pointer)
    }

    func bind(
        _ value: DatabaseValue,
        at index: Int,
        _ connection: Connection
    ) throws(DatabaseError) {
        let place = Int32(index + 1)
        let code: Int32
        switch value {
        case .null: code = unsafe sqlite3_bind_null(pointer, place)
        case .integer(let number): code = unsafe sqlite3_bind_int64(pointer, place, number)
        case .text(let text):
            // gRPC and JSON both end far below 2^31 bytes.
            let size = Int32(clamping: text.utf8.count)
            code = unsafe csqlite_bind_text(pointer, place, text, size)
        }
        guard code == SQLITE_OK else { throw connection.error(code, text) }
    }

    func reset() {
        unsafe sqlite3_reset(pointer)
        unsafe sqlite3_clear_bindings(pointer)
    }
}

/// A statement that runs: its rows one after another.
///
/// The parsed form goes back to its connection in the end.
package struct Statement: ~Copyable {
    private let handle: StatementHandle
    private let connection: Connection

    init(_ handle: StatementHandle, _ connection: Connection) {
        self.handle = handle
        self.connection = connection
    }

    deinit {
        connection.giveBack(handle)
    }

    /// Goes to the next row.
    ///
    /// - Returns: false if there is none.
    /// - Throws: `DatabaseError`.
    package borrowing func step() throws(DatabaseError) -> Bool {
        let code = unsafe sqlite3_step(handle.pointer)
        switch code {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw connection.error(code, handle.text)
        }
    }

    /// The number in a column of the row, from 0; 0 for null.
    package borrowing func integer(_ column: Int32) -> Int64 {
        unsafe sqlite3_column_int64(handle.pointer, column)
    }

    /// The text in a column of the row, from 0; empty for null.
    package borrowing func text(_ column: Int32) -> String {
        guard let text = unsafe sqlite3_column_text(handle.pointer, column) else { return "" }
        let size = unsafe Int(sqlite3_column_bytes(handle.pointer, column))
        return unsafe String(decoding: UnsafeBufferPointer(start: text, count: size), as: UTF8.self)
    }

    /// Whether a column of the row, from 0, has no value.
    package borrowing func isNull(_ column: Int32) -> Bool {
        unsafe sqlite3_column_type(handle.pointer, column) == SQLITE_NULL
    }
}
