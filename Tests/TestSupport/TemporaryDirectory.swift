// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A directory of its own for one test, removed with all it holds when the value ends.
package struct TemporaryDirectory: ~Copyable {
    /// The directory's path.
    package let path: String

    /// Makes the directory, in `TMPDIR` or /tmp.
    package init() {
        let parent = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/lazypull-test-XXXXXX".utf8CString)
        _ = unsafe mkdtemp(&template)
        path = String(
            decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) },
            as: UTF8.self
        )
    }

    deinit {
        Self.removeAll(path)
    }

    // remove(3) takes files and empty directories, and follows no link.
    private static func removeAll(_ path: String) {
        guard unsafe remove(path) != 0, let directory = unsafe opendir(path) else { return }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { removeAll("\(path)/\(name)") }
        }
        _ = unsafe closedir(directory)
        _ = unsafe remove(path)
    }

    /// Writes a file below the directory.
    package func write(_ name: String, _ bytes: [UInt8]) {
        guard let file = unsafe fopen("\(path)/\(name)", "wb") else { return }
        _ = unsafe fwrite(bytes, 1, bytes.count, file)
        _ = unsafe fclose(file)
    }

    /// Reads a file below the directory; empty if there is none.
    package func read(_ name: String) -> [UInt8] {
        guard let file = unsafe fopen("\(path)/\(name)", "rb") else { return [] }
        defer { _ = unsafe fclose(file) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { return result }
            result += buffer[..<count]
        }
    }
}
