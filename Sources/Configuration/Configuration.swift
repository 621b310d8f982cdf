// SPDX-License-Identifier: Apache-2.0
//
// Configuration: the file that gives defaults, as tables whose keys are each read once.

package import Content
import Linux
import TOML

/// A configuration file, as lazypull-config(5) describes it.
///
/// What an applet finds in it is checked by that applet; a table that nobody reads is refused here,
/// so that a slip of the pen is told and not passed over.
package struct Configuration: Sendable, Equatable {
    /// The tables that a file may have: `mount`, options of `lazypull mount`; `snapshotter`, the
    /// service's.
    package static let tableNames = ["mount", "snapshotter"]

    /// The file that root's programs read, if it exists.
    package static let pathOfRoot = "/etc/lazypull/config.toml"

    private let path: String
    private let tables: [TOMLEntry]

    /// A configuration that says nothing.
    package init() {
        path = ""
        tables = []
    }

    /// Reads a file.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - isOptional: whether a file that does not exist is as good as an empty one.
    /// - Throws: `SystemError` if it cannot be read; `ContentError` with line and column of what is
    ///   wrong with it.
    package init(contentsOf path: String, isOptional: Bool = false) throws {
        var bytes: [UInt8] = []
        do throws(SystemError) {
            bytes = try FileSystem.contents(of: path, limit: TOMLValue.documentLimit)
        } catch {
            guard isOptional, error.isNotFound else { throw error }
        }
        try self.init(parsing: bytes, path: path)
    }

    /// Reads a file's text.
    ///
    /// - Parameters:
    ///   - bytes: the text, in UTF-8.
    ///   - path: the file's path, for errors.
    /// - Throws: `ContentError` with line and column of what is wrong with it.
    package init(parsing bytes: [UInt8], path: String) throws(ContentError) {
        var root = try ConfigurationTable(
            name: nil,
            TOMLValue(parsing: bytes, path: path),
            path: path
        )
        for name in Self.tableNames { _ = try root.table(name) }
        try root.finish()
        tables = root.entries
        self.path = path
    }

    /// The file that is read where none is named: root's, or the user's own.
    ///
    /// - Parameters:
    ///   - isRoot: whether the process has root's rights.
    ///   - environment: gives the value of an environment variable.
    /// - Returns: the path; nil for a user without a home.
    package static func defaultPath(
        isRoot: Bool = CurrentProcess.isRoot,
        environment: (String) -> String? = CurrentProcess.environment
    ) -> String? {
        if isRoot { return pathOfRoot }
        // The base directory specification: a relative path is to be passed over.
        if let base = environment("XDG_CONFIG_HOME"), base.hasPrefix("/") {
            return "\(base)/lazypull/config.toml"
        }
        guard let home = environment("HOME"), home.hasPrefix("/") else { return nil }
        return "\(home)/.config/lazypull/config.toml"
    }

    /// One of the file's tables; an empty one if the file lacks it.
    ///
    /// - Parameter name: one of `tableNames`.
    /// - Returns: the table, none of whose keys has been read.
    package func table(_ name: String) -> ConfigurationTable {
        let entries = tables.first { $0.key == name }?.value.tableEntries ?? []
        return ConfigurationTable(name: name, entries: entries, path: path)
    }
}

extension TOMLValue {
    /// The entries of a table; nil if the value is none.
    var tableEntries: [TOMLEntry]? {
        guard case .table(let entries) = kind else { return nil }
        return entries
    }
}
