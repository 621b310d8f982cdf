// SPDX-License-Identifier: Apache-2.0

import Glibc
import Linux
import TestSupport
import Testing

/// Writes bytes at an offset.
private func write(
    _ bytes: [UInt8],
    to file: borrowing OwnedDescriptor,
    at offset: UInt64
) throws(SystemError) {
    try file.write(unsafe bytes.span.bytes, at: offset, "file")
}

/// Reads at most that many bytes at an offset.
private func read(
    _ file: borrowing OwnedDescriptor,
    at offset: UInt64,
    count: Int
) throws(SystemError) -> [UInt8] {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { unsafe buffer.deallocate() }
    let found = try unsafe file.read(into: buffer, at: offset, "file")
    return unsafe Array(buffer[..<found])
}

/// The errno of a call that must fail; nil if it does not.
private func failure(_ body: () throws(SystemError) -> Void) -> Int32? {
    do throws(SystemError) {
        try body()
        return nil
    } catch {
        return error.code
    }
}

@Suite("Files")
struct FileTests {
    @Test func readsAndWritesAtOffsets() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/file"
        let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
        let first: [UInt8] = [1, 2, 3]
        try file.write(unsafe first.span.bytes, path)
        try write([9, 8], to: file, at: 5)
        let content = directory.read("file")
        #expect(content == [1, 2, 3, 0, 0, 9, 8])
        let rest = try read(file, at: 4, count: 4)
        #expect(rest == [0, 9, 8])
        try file.truncate(to: 1 << 20, path)
        let status = try file.status(path)
        #expect(status.size == 1 << 20)
        #expect(status.allocatedBytes < 1 << 20)
    }

    @Test func offsetsThatNoFileHasAreErrors() throws {
        let directory = TemporaryDirectory()
        let file = try OwnedDescriptor.open("\(directory.path)/file", O_RDWR | O_CREAT)
        for offset: UInt64 in [.max, 1 << 63, (1 << 63) - 1] {
            let code = failure { () throws(SystemError) in
                try write([1, 2], to: file, at: offset)
            }
            #expect(code == EINVAL || code == EFBIG)
        }
        let truncation = failure { () throws(SystemError) in try file.truncate(to: .max, "file") }
        #expect(truncation == EINVAL)
        let reading = failure { () throws(SystemError) in
            _ = try read(file, at: .max, count: 1)
        }
        #expect(reading == EINVAL)
    }

    @Test func errorsNameCallObjectAndReason() {
        let error = #expect(throws: SystemError.self) {
            _ = try OwnedDescriptor.open("/no/such/file", O_RDONLY)
        }
        #expect(error?.description == "open /no/such/file: No such file or directory")
        #expect(SystemError.text(of: 987_654).contains("987654"))
        #expect(throws: SystemError.self) { try FileStatus(path: "/no/such/file") }
    }

    @Test func descriptorsAreClosedWithTheirOwner() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/a"
        // A lock ends with its descriptor; the number itself may be another test's by then.
        do {
            let file = try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
            let isLocked = try file.tryLock(path)
            #expect(isLocked)
            // Never inherited: a program started meanwhile must not keep the file.
            #expect(fcntl(file.number, F_GETFD) & FD_CLOEXEC != 0)
        }
        let kept = try OwnedDescriptor.open(path, O_RDONLY)
        let isLocked = try kept.tryLock(path)
        #expect(isLocked)
        let number = kept.release()
        #expect(fcntl(number, F_GETFD) != -1)
        #expect(close(number) == 0)
    }

    @Test func oneDescriptorAtATimeHasTheLock() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/lock"
        let first = try OwnedDescriptor.open(path, O_RDWR | O_CREAT)
        let second = try OwnedDescriptor.open(path, O_RDWR)
        let answers = (try first.tryLock(path), try second.tryLock(path))
        #expect(answers == (true, false))
        _ = close(first.release())
        let again = try second.tryLock(path)
        #expect(again)
    }

    @Test(arguments: [0, 1, 4095, 4096, 4097, 100_000])
    func mapsFilesOfEverySize(_ count: Int) throws {
        let directory = TemporaryDirectory()
        var generator = SeededGenerator(seed: UInt64(count))
        let content = generator.bytes(count)
        directory.write("file", content)
        let map = try MappedFile("\(directory.path)/file")
        let mapped = map.withBytes { bytes in unsafe bytes.withUnsafeBytes { unsafe Array($0) } }
        #expect(mapped == content)
        let counts = (map.byteCount, map.bytes.byteCount)
        #expect(counts == (count, count))
    }

    @Test func mappingWhatIsNoFileIsAnError() {
        let directory = TemporaryDirectory()
        let path = directory.path
        #expect(throws: SystemError.self) { _ = try MappedFile("\(path)/none") }
        #expect(throws: SystemError.self) { _ = try MappedFile(path) }
    }

    @Test func statusTellsFilesApart() throws {
        let directory = TemporaryDirectory()
        directory.write("a", [1])
        directory.write("b", [1, 2])
        let a = try FileStatus(path: "\(directory.path)/a")
        let b = try FileStatus(path: "\(directory.path)/b")
        let parent = try FileStatus(path: directory.path)
        #expect((a.size, b.size) == (1, 2))
        #expect(a.device == b.device)
        #expect(a.inode != b.inode)
        #expect(a.userID == getuid())
        #expect(!a.isDirectory)
        #expect(parent.isDirectory)
        #expect(parent.mode & 0o777 == 0o700)
    }
}
