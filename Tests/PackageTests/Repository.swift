// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
import Testing

/// The repository these tests stand in, and what they ask of it.
enum Repository {
    /// The folder that holds Package.swift.
    static let root = parent(of: #filePath, levels: 3)

    /// The built program: beside the test program, since one build makes both.
    static func program() throws -> String {
        let tests = try shell("readlink /proc/\(getpid())/exe").text.trimmed
        return "\(parent(of: tests, levels: 1))/lazypull"
    }

    /// Runs a command of the shell in the repository.
    ///
    /// - Parameter command: the command; paths in it need no quotes, the root has no spaces.
    /// - Returns: its standard output and its exit code.
    /// - Throws: `ShellError` if there is no shell.
    static func shell(_ command: String) throws -> (text: String, code: Int32) {
        guard let stream = unsafe popen("cd '\(root)' && \(command)", "r") else {
            throw ShellError(command: command)
        }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, stream)
            guard count > 0 else { break }
            output += buffer.prefix(count)
        }
        let status = unsafe pclose(stream)
        // What wait(2) calls WEXITSTATUS; a signal gives -1.
        let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : -1
        return (String(decoding: output, as: UTF8.self), code)
    }

    /// Paths of the files below the folders whose name matches, relative to the root.
    static func files(_ folders: String, named pattern: String) throws -> [String] {
        try shell("find \(folders) -type f -name '\(pattern)' | LC_ALL=C sort").text
            .split(separator: "\n").map(String.init)
    }

    /// The text of a file.
    static func text(_ path: String) throws -> String {
        let data = try Data(contentsOf: URL(filePath: "\(root)/\(path)"))
        return String(decoding: data, as: UTF8.self)
    }

    /// The lines of a file, without their ends.
    static func lines(_ path: String) throws -> [Substring] {
        var lines = try text(path).split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    /// A shell that could not be started.
    struct ShellError: Error {
        /// What it was to run.
        var command: String
    }

    private static func parent(of path: String, levels: Int) -> String {
        "/" + path.split(separator: "/").dropLast(levels).joined(separator: "/")
    }
}

extension String {
    /// The text without white space at its ends.
    var trimmed: String {
        let isSpace: (Character) -> Bool = \.isWhitespace
        return String(drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }
}
