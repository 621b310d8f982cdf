// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file's bytes, mapped read-only and shared with every other process that maps it.
///
/// The file must not shrink while it is mapped: a read beyond its new end is a SIGBUS. What is
/// mapped here are files of our own making, which are replaced by rename and never truncated.
@safe
package struct MappedFile: ~Copyable, @unchecked Sendable {
    // @unchecked: the mapping is read-only and lives as long as the value.
    private let base: UnsafeRawPointer?
    /// The file's size when it was mapped, in bytes.
    package let byteCount: Int

    /// Maps the whole file.
    ///
    /// - Parameter path: the file.
    /// - Throws: `SystemError` if it cannot be opened or mapped.
    package init(_ path: String) throws(SystemError) {
        let file = try OwnedDescriptor.open(path, O_RDONLY)
        let size = Int(try file.status(path).size)
        var address: UnsafeMutableRawPointer?
        if size > 0 {  // mmap refuses a length of 0
            unsafe address = mmap(nil, size, PROT_READ, MAP_SHARED, file.number, 0)
            guard unsafe address != MAP_FAILED else {
                throw SystemError("mmap", path, code: errno)
            }
        }
        unsafe base = UnsafeRawPointer(address)
        byteCount = size
    }

    deinit {
        guard let base = unsafe base else { return }
        _ = unsafe munmap(UnsafeMutableRawPointer(mutating: base), byteCount)
    }

    /// Calls the body with the mapped bytes: for owners that are objects, whose members the
    /// compiler does not let a span borrow.
    ///
    /// - Parameter body: uses the bytes.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    package borrowing func withBytes<T, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> T
    ) throws(Failure) -> T {
        let buffer = unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
        return try body(unsafe RawSpan(_unsafeBytes: buffer))
    }

    /// The mapped bytes.
    package var bytes: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            let buffer = unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
            // Safe: the mapping is unmapped only by deinit, which cannot run during the borrow.
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), borrowing: self)
        }
    }
}
