// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The folder of fixtures made by other implementations, which is kept outside of the repository.
package enum Fixtures {
    /// The folder, from the environment; nil where it is unset.
    package static var folder: String? {
        guard let path = unsafe getenv("LAZYPULL_FIXTURES") else { return nil }
        return unsafe String(cString: path)
    }

    /// Why tests that need the folder are skipped.
    package static let reason = "LAZYPULL_FIXTURES is not set: no images of other tools at hand"

    /// The bytes of a file in the folder.
    ///
    /// - Parameter name: the path below the folder.
    /// - Returns: its bytes; empty if it cannot be read, which no test accepts.
    package static func bytes(_ name: String) -> [UInt8] {
        guard let folder, let file = unsafe fopen("\(folder)/\(name)", "rb") else { return [] }
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { return bytes }
            bytes.append(contentsOf: buffer[0..<count])
        }
    }
}
