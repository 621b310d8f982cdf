// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A directory that is being read, entry by entry; directories in it are opened from it.
///
/// Nothing outside is ever reached: a link is not followed, and a mount is not entered.
@safe
package final class DirectoryStream {
    /// An entry of a directory.
    package struct Entry {
        /// Its name, one or more bytes.
        package var name: [UInt8]
        /// Whether it is a directory; nil where the file system does not say.
        package var isDirectory: Bool?
    }

    private let stream: OpaquePointer

    /// Begins to read a directory.
    ///
    /// - Parameter path: its path, in which links are followed.
    /// - Throws: `SystemError`.
    package init(_ path: String) throws(SystemError) {
        let descriptor = try OwnedDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        unsafe stream = try Self.stream(descriptor.release(), path)
    }

    private init(_ number: Int32, _ name: [UInt8]) throws(SystemError) {
        unsafe stream = try Self.stream(number, String(decoding: name, as: UTF8.self))
    }

    deinit {
        _ = unsafe closedir(stream)
    }

    private static func stream(_ number: Int32, _ name: String) throws(SystemError) -> OpaquePointer
    {
        guard let stream = unsafe fdopendir(number) else {
            let code = errno
            _ = close(number)
            throw SystemError("fdopendir", name, code: code)
        }
        return unsafe stream
    }

    private var number: Int32 { unsafe dirfd(stream) }

    /// The next entry; nil at the end.
    ///
    /// `.` and `..` are left out.
    ///
    /// - Throws: `SystemError`.
    package func next() throws(SystemError) -> Entry? {
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else {
                guard errno == 0 else { throw SystemError("readdir", "", code: errno) }
                return nil
            }
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe Array(bytes.prefix { $0 != 0 })
            }
            if name == [0x2e] || name == [0x2e, 0x2e] { continue }
            let type = unsafe Int32(entry.pointee.d_type)
            let isDirectory = type == Int32(DT_UNKNOWN) ? nil : type == Int32(DT_DIR)
            return Entry(name: name, isDirectory: isDirectory)
        }
    }

    /// Begins again with the first entry.
    package func rewind() {
        unsafe rewinddir(stream)
    }

    /// Begins to read a directory in this one.
    ///
    /// - Parameter name: its name.
    /// - Returns: the directory.
    /// - Throws: `SystemError`: EXDEV if something is mounted on it, ELOOP or ENOTDIR if it is no
    ///   directory.
    package func directory(_ name: [UInt8]) throws(SystemError) -> DirectoryStream {
        let number = try call("openat2", name) { name in
            unsafe clinux_open_directory_same_mount(self.number, name)
        }
        return try DirectoryStream(number, name)
    }

    /// The status of the directory itself.
    ///
    /// - Throws: `SystemError`.
    package func status() throws(SystemError) -> FileStatus {
        var status = stat()
        try retryingOnInterrupt("fstat", "") { unsafe fstat(number, &status) }
        return FileStatus(status)
    }

    /// The status of an entry; of a link, the link's own.
    ///
    /// - Throws: `SystemError`.
    package func status(of name: [UInt8]) throws(SystemError) -> FileStatus {
        var status = stat()
        try call("fstatat", name) { name in
            unsafe fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW)
        }
        return FileStatus(status)
    }

    /// Removes an entry.
    ///
    /// - Parameters:
    ///   - name: its name.
    ///   - isDirectory: whether it is a directory, which must be empty then.
    /// - Throws: `SystemError`: EBUSY if something is mounted on it.
    package func remove(_ name: [UInt8], isDirectory: Bool) throws(SystemError) {
        try call(isDirectory ? "rmdir" : "unlink", name) { name in
            unsafe unlinkat(number, name, isDirectory ? AT_REMOVEDIR : 0)
        }
    }

    /// Moves an entry into another directory of the file system.
    ///
    /// - Throws: `SystemError`.
    package func move(
        _ name: [UInt8],
        to other: DirectoryStream,
        as newName: String
    ) throws(SystemError) {
        try call("renameat", name) { name in
            unsafe renameat(number, name, other.number, newName)
        }
    }

    @discardableResult
    private func call(
        _ function: String,
        _ name: [UInt8],
        _ body: ([CChar]) -> Int32
    ) throws(SystemError) -> Int32 {
        let text = name.map { CChar(bitPattern: $0) } + [0]
        return try retryingOnInterrupt(function, String(decoding: name, as: UTF8.self)) {
            body(text)
        }
    }
}
