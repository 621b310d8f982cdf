// SPDX-License-Identifier: Apache-2.0

package import Content
package import Linux

/// A regular file's bytes, front to back.
struct FileStream: ~Copyable, ByteStream {
    private let file: OwnedDescriptor
    private let path: String

    /// The file's bytes.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - expectedSize: the size it must have; nil for any.
    /// - Throws: `ContentError` if it cannot be opened, or has another size.
    init(_ path: String, expectedSize: UInt64? = nil) throws(ContentError) {
        self.path = path
        file = try openBlob(path, expectedSize: expectedSize)
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        try systemCall { () throws(SystemError) in try unsafe file.read(into: buffer, path) }
    }
}

/// Opens a regular file that must have a size.
func openBlob(
    _ path: String,
    expectedSize: UInt64?
) throws(ContentError) -> OwnedDescriptor {
    let file = try systemCall { () throws(SystemError) in try FileSystem.openRegular(path) }
    let size = try systemCall { () throws(SystemError) in try file.status(path).size }
    if let expectedSize, expectedSize != size {
        throw .corrupt("\(path): expected \(expectedSize) bytes, found \(size)")
    }
    return file
}

/// Runs the body and throws what it throws in the words of those who read and write data.
func systemCall<T: ~Copyable>(_ body: () throws(SystemError) -> T) throws(ContentError) -> T {
    do throws(SystemError) {
        return try body()
    } catch {
        throw ContentError(error)
    }
}

extension ContentError {
    /// What a failed system call means to those who read and write data.
    package init(_ error: SystemError) {
        let kind: Kind =
            error.isNotFound ? .notFound : error.isOutOfSpace ? .noSpace : .inputOutput
        self.init(kind, error.description)
        isShortage = error.isShortage
    }
}
