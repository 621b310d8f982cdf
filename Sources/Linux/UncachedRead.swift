// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Reading without filling the page cache, for files whose content is cached elsewhere as well.
package enum UncachedRead: Sendable {
    /// As many bytes as were read, fewer than asked only at the end of the file.
    case bytes(Int)
    /// Neither the kernel nor the file system can do it (before Linux 6.14).
    case unsupported

    /// Reads from the offset until the buffer is full or the file ends (RWF_DONTCACHE).
    ///
    /// Pages that are in memory are used and stay; those that the read brings in are dropped.
    ///
    /// - Parameters:
    ///   - number: the open file.
    ///   - buffer: takes the bytes from its start.
    ///   - offset: the file offset of the first byte.
    ///   - object: what is read, for the error.
    /// - Returns: what came of it.
    /// - Throws: `SystemError` if a read fails.
    package static func perform(
        _ number: Int32,
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64,
        _ object: @autoclosure () -> String
    ) throws(SystemError) -> UncachedRead {
        var done = 0
        while done < buffer.count {
            let count: Int
            do throws(SystemError) {
                count = try retryingOnInterrupt("preadv2", object()) {
                    unsafe clinux_read_uncached(
                        number,
                        buffer.baseAddress?.advanced(by: done),
                        buffer.count - done,
                        off_t(truncatingIfNeeded: offset &+ UInt64(done))
                    )
                }
            } catch  where error.code == EOPNOTSUPP || error.code == ENOSYS {
                return .unsupported
            }
            guard count > 0 else { break }
            done += count
        }
        return .bytes(done)
    }
}

extension OwnedDescriptor {
    /// Reads what is in memory from the offset on (RWF_NOWAIT).
    ///
    /// What is not may be read ahead meanwhile; the thread does not wait for it.
    ///
    /// - Parameters:
    ///   - number: the open file.
    ///   - buffer: takes the bytes from its start.
    ///   - offset: the file offset of the first byte.
    /// - Returns: how many bytes were in memory; 0 also where nobody can tell. Whatever is wrong
    ///   with the rest, a read that waits will say.
    package static func readAtOnce(
        _ number: Int32,
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: UInt64
    ) -> Int {
        let place = off_t(truncatingIfNeeded: offset)
        return max(0, unsafe clinux_read_at_once(number, buffer.baseAddress, buffer.count, place))
    }

    /// A second owner's view of a descriptor that something else keeps open: for one call.
    ///
    /// - Parameters:
    ///   - number: the descriptor, open for as long as the body runs.
    ///   - body: uses it.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    package static func borrowing<T, Failure: Error>(
        _ number: Int32,
        _ body: (borrowing OwnedDescriptor) throws(Failure) -> T
    ) throws(Failure) -> T {
        let view = OwnedDescriptor(owning: number)
        do throws(Failure) {
            let result = try body(view)
            _ = view.release()
            return result
        } catch {
            _ = view.release()
            throw error
        }
    }

    /// How a file is opened that is read past the page cache (O_DIRECT).
    package static var directReading: Int32 { O_RDONLY | clinux_o_direct() }

    /// How much of a part of the file is in memory (cachestat(2)).
    ///
    /// - Parameter range: the part, in bytes; not empty.
    /// - Returns: the number of bytes, whole pages; 0 also where the kernel cannot tell (before 6.5).
    package func bytesInMemory(_ range: Range<UInt64>) -> UInt64 {
        let size = range.upperBound - range.lowerBound
        let pages = clinux_cached_pages(number, range.lowerBound, size)
        return UInt64(max(pages, 0)) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Takes the pages that are on storage out of memory (POSIX_FADV_DONTNEED).
    ///
    /// - Parameter range: of which part, in bytes.
    package func dropPages(_ range: Range<UInt64>) {
        // Advice: where it is not taken, memory is used twice, and nothing is wrong.
        let start = off_t(truncatingIfNeeded: range.lowerBound)
        let count = off_t(truncatingIfNeeded: range.upperBound - range.lowerBound)
        // A count of 0 would mean the whole file.
        guard count > 0 else { return }
        _ = posix_fadvise(number, start, count, POSIX_FADV_DONTNEED)
    }
}
