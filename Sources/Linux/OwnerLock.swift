// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The lock that makes a process the owner of a directory, for as long as it lives.
package struct OwnerLock: ~Copyable {
    private let file: OwnedDescriptor

    /// Takes the lock.
    ///
    /// - Parameter directory: the directory; exists. The lock is its file `lock`.
    /// - Throws: `SystemError`: EWOULDBLOCK, naming the owner's process id, if there is one.
    package init(_ directory: String) throws(SystemError) {
        let path = directory + "/lock"
        let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        guard try file.tryLock(path) else {
            let text = (try? FileSystem.contents(of: path, limit: 64)) ?? []
            let owner = String(decoding: text.prefix { $0 != 0x0a }, as: UTF8.self)
            let name = owner.isEmpty ? "another process" : "process \(owner)"
            throw SystemError("flock", "\(directory), which \(name) owns", code: EWOULDBLOCK)
        }
        let text = Array("\(getpid())\n".utf8)
        try file.truncate(to: 0, path)
        try unsafe file.write(text.span.bytes, at: 0, path)
        self.file = file
    }
}

extension SystemError {
    /// Whether another process has the lock.
    package var isTaken: Bool { code == EWOULDBLOCK }
}
