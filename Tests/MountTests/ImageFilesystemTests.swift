// SPDX-License-Identifier: Apache-2.0

import CLinux
import ChunkCache
import Content
import FUSE
import Glibc
import Linux
import Log
import TestSupport
import Testing

@testable import Mount

private let canMount = geteuid() == 0 && (unsafe access("/dev/fuse", R_OK | W_OK)) == 0

/// A test image, mounted.
private final class MountedImage {
    let image = TestDirectory()
    let cache: ChunkCache
    let source: MemorySource
    private let point: MountPoint
    private let workers: FuseWorkers
    private let session: FuseSession

    init(_ source: MemorySource) throws {
        self.source = source
        try FileSystem.makeDirectories(image.path + "/mount")
        let file = try OwnedDescriptor.open(
            image.path + "/log",
            O_WRONLY | O_CREAT | O_APPEND
        )
        let log = Logger(level: .info, owning: file.release())
        let cacheDirectory = image.path + "/cache"
        cache = try ChunkCache(directory: cacheDirectory, runtimeDirectory: nil, log: log)
        let open = try OpenImage(source, cache, cacheDirectory: cacheDirectory)
        point = try MountPoint(image.path + "/mount")
        workers = try FuseWorkers(count: 2)
        let filesystem = try ImageFilesystem(open, cache, log)
        session = try FuseSession(filesystem, mountedAt: point.path, source: open.name)
        try workers.serve(session)
        try point.awaitAnswer()
    }

    deinit {
        _ = try? point.unmount()
        try? session.waitUntilEnded()
        cache.close()
        workers.stop()
    }

    func path(_ name: String) -> String { "\(point.path)/\(name)" }

    func status(_ name: String) throws -> stat {
        var status = stat()
        try retryingOnInterrupt("lstat", name) { unsafe lstat(path(name), &status) }
        return status
    }

    var logLines: [Substring] {
        let bytes = (try? FileSystem.contents(of: image.path + "/log")) ?? []
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }
}

/// A temporary directory that an object can own.
final class TestDirectory {
    private let directory = TemporaryDirectory()
    var path: String { directory.path }
}

@Suite(
    "Mounted image",
    .enabled(if: canMount, "needs root and /dev/fuse"),
    .serialized,
    .timeLimit(.minutes(5))
)
struct ImageFilesystemTests {
    @Test func showsTheTreeOfTheImage() throws {
        let mounted = try MountedImage(TestImage().source)
        let file = try mounted.status("file")
        #expect(file.st_mode == 0o104_755)
        #expect(file.st_uid == 5)
        #expect(file.st_gid == 6)
        #expect(file.st_size == TestImage.fileContent.count)
        #expect(file.st_mtim.tv_sec == -10)
        #expect(file.st_mtim.tv_nsec == 123)
        #expect(try mounted.status("other").st_nlink == 2)
        #expect(try mounted.status("other").st_ino == mounted.status("hard").st_ino)
        #expect(try mounted.status("device").st_rdev == gnu_dev_makedev(1, 3))
        #expect(try mounted.status("device").st_mode == 0o020_600)
        #expect(try mounted.status(".").st_nlink == 3)
        let names = try FileSystem.names(inDirectory: mounted.path(""))
        #expect(Set(names).isSuperset(of: ["device", "file", "hard", "link", "other"]))
        // A name need not be UTF-8.
        var status = stat()
        let bytes = Array(mounted.path("d").utf8CString.dropLast()) + [CChar(bitPattern: 0xff), 0]
        #expect(unsafe lstat(bytes, &status) == 0)
        #expect(status.st_mode == 0o040_755)
        let error = #expect(throws: SystemError.self) { try mounted.status("absent") }
        #expect(error?.code == ENOENT)
    }

    @Test func givesTheRightBytesAndFetchesEachChunkOnce() throws {
        let mounted = try MountedImage(TestImage().source)
        for _ in 0..<2 {
            #expect(
                try FileSystem.contents(of: mounted.path("link")) == TestImage.fileContent
            )
            #expect(
                try FileSystem.contents(of: mounted.path("other")) == TestImage.otherContent
            )
        }
        let statistics = mounted.cache.statistics
        #expect(statistics.fetches <= 4)
        #expect(statistics.failures == 0)
        #expect(statistics.fetchedBytes < TestImage.fileContent.count)
    }

    @Test func readsAtEveryOffset() throws {
        let mounted = try MountedImage(TestImage().source)
        let content = TestImage.fileContent
        let file = try OwnedDescriptor.open(mounted.path("file"), O_RDONLY)
        let memory = try AnonymousMemory(byteCount: 5_000)
        for offset in stride(from: 0, through: content.count + 10, by: 97) {
            let count = try unsafe file.read(into: memory.bytes, at: UInt64(offset), "file")
            let expected = content.dropFirst(offset).prefix(5_000)
            #expect(count == expected.count)
            let isRight = unsafe memory.bytes[..<count].elementsEqual(expected)
            #expect(isRight)
        }
    }

    /// Where the file has data, by SEEK_DATA (3) and SEEK_HOLE (4), which are behind _GNU_SOURCE.
    private func segments(of path: String) throws -> [Range<Int>] {
        let file = try OwnedDescriptor.open(path, O_RDONLY)
        var result: [Range<Int>] = []
        var position = 0
        while true {
            let start = lseek(file.number, position, 3)
            guard start >= 0 else { return result }
            position = lseek(file.number, start, 4)
            guard position > start else { return result + [-1 ..< -1] }
            result.append(start..<position)
        }
    }

    @Test func chunksOfZerosAreHolesAndNeverFetched() throws {
        let mounted = try MountedImage(TestImage(hasHoles: true).source)
        let path = mounted.path("sparse")
        #expect(try segments(of: path) == [0..<4096, 4 * 4096..<6 * 4096])
        #expect(mounted.cache.statistics.reads == 0)
        let file = try OwnedDescriptor.open(path, O_RDONLY)
        let size = TestImage.sparseContent.count
        // From within data, and from within a hole.
        #expect(lseek(file.number, 100, 3) == 100)
        #expect(lseek(file.number, 100, 4) == 4096)
        #expect(lseek(file.number, 5000, 4) == 5000)
        #expect(lseek(file.number, 5000, 3) == 4 * 4096)
        #expect(lseek(file.number, size - 1, 4) == size - 1)
        #expect(lseek(file.number, 6 * 4096, 3) == -1)
        #expect(errno == ENXIO)
        #expect(lseek(file.number, size, 4) == -1)
        #expect(errno == ENXIO)
        // A file without a hole has one at its end.
        #expect(try segments(of: mounted.path("file")) == [0..<TestImage.fileContent.count])
        #expect(try segments(of: mounted.path("other")) == [0..<TestImage.otherContent.count])
        #expect(mounted.cache.statistics.fetches == 0)
        let memory = try AnonymousMemory(byteCount: 3 * 4096)
        let fadvise = posix_fadvise(file.number, 0, 0, POSIX_FADV_RANDOM)
        #expect(fadvise == 0)
        #expect(try unsafe file.read(into: memory.bytes, at: 4096, path) == 3 * 4096)
        let isZero = unsafe memory.bytes.allSatisfy { $0 == 0 }
        #expect(isZero)
        #expect(mounted.cache.statistics.fetches == 0)
        #expect(try FileSystem.contents(of: path) == TestImage.sparseContent)
    }

    @Test func showsXattrsButNotThoseOfAnOverlay() throws {
        let mounted = try MountedImage(TestImage().source)
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = unsafe getxattr(mounted.path("file"), "user.colour", &buffer, buffer.count)
        #expect(count == 4)
        #expect(buffer.prefix(4).elementsEqual("blue".utf8))
        let listed = unsafe listxattr(mounted.path("file"), nil, 0)
        #expect(listed == "user.colour".utf8.count + 1)
        #expect(unsafe getxattr(mounted.path("other"), "user.colour", nil, 0) == -1)
        #expect(errno == ENODATA)
    }

    @Test func aCorruptChunkIsAnErrorWithOneLineAndSpoilsNothingElse() throws {
        let image = try TestImage()
        // The first chunk is a short zstd frame; its neighbours are stored as they are.
        image.source.corrupt(at: 10)
        let mounted = try MountedImage(image.source)
        let error = #expect(throws: SystemError.self) {
            try FileSystem.contents(of: mounted.path("file"))
        }
        #expect(error?.code == EIO)
        #expect(mounted.logLines.contains { $0.contains("error fetch failed blob=sha256:") })
        #expect(try FileSystem.contents(of: mounted.path("other")) == TestImage.otherContent)
        image.source.corrupt(at: 10)
        // For a moment the kernel is given the same answer again.
        CurrentProcess.sleep(nanoseconds: 400_000_000)
        #expect(try FileSystem.contents(of: mounted.path("file")) == TestImage.fileContent)
    }

    @Test func withoutTablesTheBootstrapsOwnRecordsServe() throws {
        let mounted = try MountedImage(TestImage(.withoutTables).source)
        #expect(try FileSystem.contents(of: mounted.path("file")) == TestImage.fileContent)
    }
}

@Suite("Open image")
struct OpenImageTests {
    private func open(_ damage: TestImage.Damage, in path: String) throws -> OpenImage {
        let log = Logger(level: .error)
        let cache = try ChunkCache(directory: path, runtimeDirectory: nil, log: log)
        defer { cache.close() }
        return try OpenImage(TestImage(damage).source, cache, cacheDirectory: path)
    }

    @Test func countsWhatTheImageHolds() throws {
        let directory = TestDirectory()
        let image = try open(.none, in: directory.path)
        #expect(image.blobs.count == 1)
        #expect(image.viewBytes == 4 * 4096)
        #expect(image.storedBytes < UInt64(TestImage.fileContent.count))
        // Again, from what was unpacked.
        #expect(try open(.none, in: directory.path).storedBytes == image.storedBytes)
    }

    @Test(arguments: [
        TestImage.Damage.otherDigest, .shortDigests, .unlistedBlob, .corruptLayer,
    ])
    func partsThatContradictAreRefused(damage: TestImage.Damage) throws {
        let directory = TestDirectory()
        let error = #expect(throws: ContentError.self) { try open(damage, in: directory.path) }
        #expect(error?.kind == .corrupt)
    }

    @Test func aLayerThatWasNotVerifiedIsNotKept() throws {
        let directory = TestDirectory()
        for _ in 0..<2 {
            #expect(throws: ContentError.self) { try open(.corruptLayer, in: directory.path) }
        }
        let names = try FileSystem.names(inDirectory: directory.path + "/images")
        #expect(names.allSatisfy { $0.hasSuffix(".new") })
    }
}
