// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A file descriptor that is closed exactly once: when its owner ends.
package struct OwnedDescriptor: ~Copyable {
    /// The descriptor's number, for calls this type does not have; valid while the owner lives.
    package let number: Int32

    /// Takes over an open descriptor.
    package init(owning number: Int32) {
        self.number = number
    }

    deinit {
        // The descriptor is gone whatever close returns (close(2)); writers that must know whether
        // their data is safe call `synchronizeData` before.
        _ = Glibc.close(number)
    }

    /// Opens a file; the descriptor is never inherited by other programs.
    ///
    /// - Parameters:
    ///   - path: the path.
    ///   - flags: `O_RDONLY` and the like; `O_CLOEXEC` is added.
    ///   - mode: permissions of a file that is created, before the umask.
    /// - Returns: the open descriptor.
    /// - Throws: `SystemError` naming the path.
    package static func open(
        _ path: String,
        _ flags: Int32,
        mode: UInt32 = 0o644
    ) throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(
            owning: try retryingOnInterrupt("open", path) {
                unsafe clinux_open(path, flags | O_CLOEXEC, mode)
            }
        )
    }

    /// Another descriptor for what a descriptor is open on (F_DUPFD_CLOEXEC).
    ///
    /// - Parameters:
    ///   - number: the descriptor.
    ///   - object: what it is open on, for the error.
    /// - Returns: the other one, never inherited by other programs.
    /// - Throws: `SystemError` if the process has no descriptor left.
    package static func duplicate(
        of number: Int32,
        _ object: @autoclosure () -> String
    ) throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(
            owning: try retryingOnInterrupt("dup", object()) { clinux_duplicate(number) }
        )
    }

    /// Reads at the descriptor's own position.
    ///
    /// - Parameters:
    ///   - buffer: takes the bytes from its start.
    ///   - object: what is read, for the error.
    /// - Returns: how many bytes were read; 0 at the end of the file.
    /// - Throws: `SystemError` if the read fails.
    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        _ object: @autoclosure () -> String
    ) throws(SystemError) -> Int {
        try retryingOnInterrupt("read", object()) {
            unsafe Glibc.read(number, buffer.baseAddress, buffer.count)
        }
    }

    /// Reads from the offset until the buffer is full or the file ends.
    ///
    /// - Parameters:
    ///   - buffer: takes the bytes from its start.
    ///   - offset: the file offset of the first byte.
    ///   - object: what is read, for the error.
    /// - Returns: how many bytes were read; fewer than asked only at the end of the file.
    /// - Throws: `SystemError` if a read fails.
    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        _ object: @autoclosure () -> String
    ) throws(SystemError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = try retryingOnInterrupt("pread", object()) {
                unsafe pread(
                    number,
                    buffer.baseAddress?.advanced(by: done),
                    buffer.count - done,
                    Self.position(offset, done)
                )
            }
            guard count > 0 else { break }
            done += count
        }
        return done
    }

    /// Writes all bytes at the descriptor's own position.
    ///
    /// - Parameters:
    ///   - bytes: the bytes.
    ///   - object: what is written, for the error.
    /// - Throws: `SystemError` if a write fails; part may have been written.
    package func write(
        _ bytes: RawSpan,
        _ object: @autoclosure () -> String
    ) throws(SystemError) {
        var done = 0
        while done < bytes.byteCount {
            let rest = bytes.extracting(done..<bytes.byteCount)
            done += try retryingOnInterrupt("write", object()) {
                unsafe rest.withUnsafeBytes { unsafe Glibc.write(number, $0.baseAddress, $0.count) }
            }
        }
    }

    /// Writes all bytes at the offset.
    ///
    /// - Parameters:
    ///   - bytes: the bytes.
    ///   - offset: the file offset of the first byte.
    ///   - object: what is written, for the error.
    /// - Throws: `SystemError` if a write fails; part may have been written.
    package func write(
        _ bytes: RawSpan,
        at offset: UInt64,
        _ object: @autoclosure () -> String
    ) throws(SystemError) {
        var done = 0
        while done < bytes.byteCount {
            let rest = bytes.extracting(done..<bytes.byteCount)
            done += try retryingOnInterrupt("pwrite", object()) {
                unsafe rest.withUnsafeBytes {
                    unsafe pwrite(number, $0.baseAddress, $0.count, Self.position(offset, done))
                }
            }
        }
    }

    /// An offset as the kernel takes it; one beyond 2^63 turns negative, which it refuses.
    private static func position(_ offset: UInt64, _ done: Int) -> off_t {
        off_t(truncatingIfNeeded: offset &+ UInt64(done))
    }

    /// Makes the file's data and size safe on storage (fdatasync).
    ///
    /// - Parameter object: what is synchronized, for the error.
    /// - Throws: `SystemError`; what was written before may then be lost.
    package func synchronizeData(_ object: @autoclosure () -> String) throws(SystemError) {
        try retryingOnInterrupt("fdatasync", object()) { fdatasync(number) }
    }

    /// Makes data and metadata safe on storage (fsync): for directories, after a rename.
    ///
    /// - Parameter object: what is synchronized, for the error.
    /// - Throws: `SystemError`.
    package func synchronize(_ object: @autoclosure () -> String) throws(SystemError) {
        try retryingOnInterrupt("fsync", object()) { fsync(number) }
    }

    /// Sets the file's size; new bytes read as zeros and take no space.
    ///
    /// - Parameters:
    ///   - size: the size in bytes.
    ///   - object: the file, for the error.
    /// - Throws: `SystemError`.
    package func truncate(to size: UInt64, _ object: @autoclosure () -> String) throws(SystemError)
    {
        try retryingOnInterrupt("ftruncate", object()) { ftruncate(number, Self.position(size, 0)) }
    }

    /// The file's status.
    ///
    /// - Parameter object: the file, for the error.
    /// - Returns: what fstat(2) gives of it.
    /// - Throws: `SystemError`.
    package func status(_ object: @autoclosure () -> String) throws(SystemError) -> FileStatus {
        var status = stat()
        try retryingOnInterrupt("fstat", object()) { unsafe fstat(number, &status) }
        return FileStatus(status)
    }

    /// Takes an exclusive lock on the file (flock), if nobody else has it.
    ///
    /// The lock ends with the descriptor, however the process ends.
    ///
    /// - Parameter object: the file, for the error.
    /// - Returns: false if another open file description holds the lock.
    /// - Throws: `SystemError` for every other failure.
    package func tryLock(_ object: @autoclosure () -> String) throws(SystemError) -> Bool {
        do {
            try retryingOnInterrupt("flock", object()) { flock(number, LOCK_EX | LOCK_NB) }
            return true
        } catch  where error.code == EWOULDBLOCK {
            return false
        }
    }

    /// Gives the descriptor away: the caller closes it.
    package consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }
}
