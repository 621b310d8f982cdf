// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Memory of a thread or an object, straight from the kernel: pages cost nothing until touched.
///
/// One thread at a time uses it; its owner says which.
@safe
package struct AnonymousMemory: ~Copyable, @unchecked Sendable {
    // @unchecked: plain memory, whose one owner may move between threads.
    /// The memory, zeros at first; valid while the value lives.
    package let bytes: UnsafeMutableRawBufferPointer

    /// Maps memory.
    ///
    /// - Parameter byteCount: how much; at least 1.
    /// - Throws: `SystemError` if there is none.
    package init(byteCount: Int) throws(SystemError) {
        unsafe bytes = try mapMemory(
            byteCount,
            file: -1,
            flags: MAP_PRIVATE | MAP_ANONYMOUS,
            "\(byteCount) bytes"
        )
    }

    /// Gives the touched pages back to the kernel; the bytes are zeros again.
    package mutating func discardPages() {
        _ = unsafe madvise(bytes.baseAddress, bytes.count, MADV_DONTNEED)
    }

    deinit {
        _ = unsafe munmap(bytes.baseAddress, bytes.count)
    }
}

/// A file's bytes mapped for reading and writing, or memory in their stead.
///
/// What is stored survives the death of the process, not that of the machine. The file's space
/// must be allocated and the file must not shrink: a store beyond it is a SIGBUS.
@safe
package struct SharedMapping: ~Copyable, @unchecked Sendable {
    // @unchecked: users share it through atomics only.
    /// The mapped bytes; valid while the value lives.
    package let bytes: UnsafeMutableRawBufferPointer

    /// Maps the beginning of a file.
    ///
    /// - Parameters:
    ///   - file: opened for reading and writing.
    ///   - byteCount: how much; at least 1, and no more than is allocated.
    ///   - path: the file, for the error.
    /// - Throws: `SystemError`.
    package init(
        _ file: borrowing OwnedDescriptor,
        byteCount: Int,
        _ path: String
    ) throws(SystemError) {
        unsafe bytes = try mapMemory(byteCount, file: file.number, flags: MAP_SHARED, path)
    }

    /// Maps memory that dies with the process.
    ///
    /// - Parameter byteCount: how much; at least 1.
    /// - Throws: `SystemError` if there is none.
    package init(byteCount: Int) throws(SystemError) {
        unsafe bytes = try mapMemory(
            byteCount,
            file: -1,
            flags: MAP_SHARED | MAP_ANONYMOUS,
            "\(byteCount) bytes"
        )
    }

    deinit {
        _ = unsafe munmap(bytes.baseAddress, bytes.count)
    }
}

private func mapMemory(
    _ byteCount: Int,
    file: Int32,
    flags: Int32,
    _ object: @autoclosure () -> String
) throws(SystemError) -> UnsafeMutableRawBufferPointer {
    let address = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, file, 0)
    guard unsafe address != clinux_map_failed(), let address = unsafe address else {
        throw SystemError("mmap", object(), code: errno)
    }
    return unsafe UnsafeMutableRawBufferPointer(start: address, count: byteCount)
}
