// SPDX-License-Identifier: Apache-2.0
//
// TOML: a TOML document (version 1.0) as values that know their line.

import CTOML
package import Content

/// A value of a TOML document, with its place.
package struct TOMLValue: Sendable, Equatable {
    /// What the value is.
    package enum Kind: Sendable, Equatable {
        case string(String)
        case integer(Int64)
        case number(Double)
        case boolean(Bool)
        /// A date, a time or both; nothing here reads one.
        case moment
        case array([TOMLValue])
        /// The entries in the order of the document.
        case table([TOMLEntry])
    }

    /// The value.
    package let kind: Kind
    /// The line it begins in, from 1.
    package let line: Int
    /// The column it begins in, from 1.
    package let column: Int

    /// The largest document that is read, in bytes.
    package static let documentLimit = 1 << 20

    /// The table that a document is.
    ///
    /// - Parameters:
    ///   - bytes: the document, in UTF-8.
    ///   - path: its path, for the error.
    /// - Throws: `ContentError` with path, line and column.
    package init(parsing bytes: [UInt8], path: String) throws(ContentError) {
        guard bytes.count <= Self.documentLimit else {
            throw ContentError(.limitExceeded, "\(path): more than \(Self.documentLimit) bytes")
        }
        var error = ctoml_error()
        let document = unsafe bytes.withUnsafeBytes { bytes in
            unsafe ctoml_parse(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                bytes.count,
                &error
            )
        }
        guard let document = unsafe document else {
            let message = unsafe withUnsafeBytes(of: &error.message) { text in
                unsafe String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
            }
            throw .corrupt("\(path):\(error.line):\(error.column): \(message)")
        }
        defer { unsafe ctoml_free(document) }
        self = unsafe TOMLValue(ctoml_root(document))
    }

    private init(_ node: OpaquePointer?) {
        line = unsafe Int(ctoml_node_line(node))
        column = unsafe Int(ctoml_node_column(node))
        switch unsafe ctoml_node_kind(node) {
        case CTOML_STRING:
            var size = 0
            let text = unsafe ctoml_string(node, &size)
            kind = .string(unsafe Self.text(text, size))
        case CTOML_INTEGER: kind = .integer(unsafe ctoml_integer(node))
        case CTOML_NUMBER: kind = .number(unsafe ctoml_number(node))
        case CTOML_BOOLEAN: kind = .boolean(unsafe ctoml_boolean(node) != 0)
        case CTOML_ARRAY: kind = .array(unsafe Self.entries(node).map(\.value))
        case CTOML_TABLE:
            // toml++ sorts by key; what is written first is meant to come first.
            kind = .table(
                unsafe Self.entries(node).sorted {
                    ($0.value.line, $0.value.column) < ($1.value.line, $1.value.column)
                }
            )
        default: kind = .moment
        }
    }

    private static func text(_ bytes: UnsafePointer<CChar>?, _ size: Int) -> String {
        unsafe String(decoding: UnsafeRawBufferPointer(start: bytes, count: size), as: UTF8.self)
    }

    /// The values of an array or a table.
    private static func entries(_ node: OpaquePointer?) -> [TOMLEntry] {
        var entries: [TOMLEntry] = []
        unsafe withUnsafeMutablePointer(to: &entries) { entries in
            unsafe ctoml_visit(
                node,
                { context, key, size, value in
                    let entries = unsafe context?.assumingMemoryBound(to: [TOMLEntry].self)
                    let entry = unsafe TOMLEntry(
                        key: TOMLValue.text(key, size),
                        value: TOMLValue(value)
                    )
                    unsafe entries?.pointee.append(entry)
                },
                entries
            )
        }
        return entries
    }
}

/// A key of a table with its value.
package struct TOMLEntry: Sendable, Equatable {
    /// The key.
    package let key: String
    /// The value.
    package let value: TOMLValue
}
