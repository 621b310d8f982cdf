// SPDX-License-Identifier: Apache-2.0

import CLinux
import FUSE
import Glibc
import Linux
import Testing

@Suite(
    "Parked requests",
    .enabled(if: canMount, "needs root and /dev/fuse"),
    .serialized,
    .timeLimit(.minutes(5))
)
struct ParkedRequestTests {
    /// How a program reads.
    fileprivate enum Way {
        case buffered
        case direct
        case mapped
    }

    /// What a thread that reads `stalled` got: the bytes, or the errno.
    private func read(_ mounted: MountedFilesystem, into result: Monitor<Int?>) throws {
        let path = mounted.path("stalled")
        let thread = try WorkerThread(name: "reader") {
            let count: Int
            do throws(SystemError) {
                count = try FileSystem.contents(of: path).count
            } catch {
                count = -Int(error.code)
            }
            result.update { $0 = count }
        }
        thread.detach()
    }

    /// Whether nobody is left to answer.
    private func isAnswered(_ parked: ParkedRequest) -> Bool {
        guard let request = parked.take() else { return true }
        request.reply(.inputOutput)
        return false
    }

    /// Starts a process that reads `stalled`, and waits until its read is parked.
    private func startReader(_ mounted: MountedFilesystem, _ way: Way) throws -> pid_t {
        var process = pid_t()
        let path = mounted.path("stalled")
        let words =
            switch way {
            case .buffered: ["dd", "if=\(path)", "bs=4096", "status=none"]
            case .direct: ["dd", "if=\(path)", "iflag=direct", "bs=4096", "status=none"]
            case .mapped:
                [
                    "python3", "-c",
                    "import mmap; f = open('\(path)', 'rb');"
                        + " mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)[0]",
                ]
            }
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        defer {
            for index in unsafe arguments.indices { unsafe free(arguments[index]) }
        }
        let code = unsafe posix_spawnp(
            &process,
            words[0],
            nil,
            nil,
            &arguments,
            clinux_environment()
        )
        guard code == 0 else { throw SystemError("posix_spawn", words[0], code: code) }
        _ = mounted.filesystem.stalledReads.wait { $0.isEmpty ? nil : true }
        return process
    }

    @Test func isAnsweredByAnotherThread() throws {
        let mounted = try MountedFilesystem(workers: 1)
        let result = Monitor<Int?>(nil)
        try read(mounted, into: result)
        let parked = mounted.filesystem.stalledReads.wait { $0.popLast() }
        // The only worker is free for others meanwhile.
        #expect(try FileSystem.contents(of: mounted.path("hello")) == TinyFilesystem.hello)
        let bytes = [UInt8](repeating: 7, count: 4096)
        unsafe parked.take()?.reply(bytes.span.bytes)
        #expect(result.wait { $0 } == 4096)
        #expect(isAnswered(parked))
    }

    @Test func droppedItIsAnInputOutputError() throws {
        let mounted = try MountedFilesystem()
        let result = Monitor<Int?>(nil)
        try read(mounted, into: result)
        _ = mounted.filesystem.stalledReads.wait { $0.popLast() == nil ? nil : true }
        // Readahead may have parked a second request: none is answered, all are dropped.
        while result.wait(milliseconds: 50, for: { $0 }) == nil {
            mounted.filesystem.stalledReads.update { $0.removeAll() }
        }
        #expect(result.wait { $0 } == -Int(EIO))
    }

    @Test(arguments: [Way.buffered, .direct, .mapped])
    fileprivate func aKilledReaderEndsAtOnce(way: Way) throws {
        let mounted = try MountedFilesystem()
        let process = try startReader(mounted, way)
        kill(process, SIGKILL)
        var status: Int32 = 0
        var ended: pid_t = 0
        for _ in 0..<100 where ended == 0 {
            ended = unsafe waitpid(process, &status, WNOHANG)
            if ended == 0 { usleep(10_000) }
        }
        #expect(ended == process)
        // The kernel says that a direct read was interrupted: whoever fetches finds nobody to
        // answer. A buffered one only waited for the page, whose read goes on.
        let parked = mounted.filesystem.stalledReads.wait { $0.popLast() }
        #expect(isAnswered(parked) == (way == .direct))
    }

    /// More than any limit of the kernel's on requests that wait.
    @Test func aThousandParkedReadsStopNobodyElse() throws {
        let mounted = try MountedFilesystem(workers: 2)
        let usual = try Self.readingTime(of: mounted.path("big"))
        let count = 1000
        let path = mounted.path("wide")
        let threads = ThreadGroup()
        let failures = Monitor(0)
        for page in 0..<count {
            try threads.start(name: "reader") {
                let isRead = (try? Self.readPage(page, of: path)) == true
                if !isRead { failures.update { $0 += 1 } }
            }
        }
        _ = mounted.filesystem.stalledReads.wait { $0.count >= count ? true : nil }
        // Its usual speed: the rest is for what else the machine does.
        let beside = try Self.readingTime(of: mounted.path("big"))
        #expect(beside <= 3 * usual + 20_000_000, "\(beside) ns, else \(usual) ns")
        let parked = mounted.filesystem.stalledReads.update { reads in
            defer { reads.removeAll() }
            return reads
        }
        let bytes = [UInt8](repeating: 7, count: 4096)
        for request in parked { unsafe request.take()?.reply(bytes.span.bytes) }
        threads.wait()
        #expect(failures.update { $0 } == 0)
    }

    /// How long it takes to read a file that is not in the kernel's cache, in nanoseconds: the median
    /// of several times.
    private static func readingTime(of path: String) throws -> UInt64 {
        let times = try (0..<7).map { _ in
            let file = try OwnedDescriptor.open(path, O_RDONLY)
            _ = posix_fadvise(file.number, 0, 0, POSIX_FADV_DONTNEED)
            let start = CurrentProcess.monotonicNanoseconds
            let size = try FileSystem.contents(of: path).count
            #expect(size == Int(TinyFilesystem.bigSize))
            return CurrentProcess.monotonicNanoseconds - start
        }
        return times.sorted()[times.count / 2]
    }

    private static func readPage(_ page: Int, of path: String) throws -> Bool {
        let file = try OwnedDescriptor.open(path, O_RDONLY)
        // One request for each page, and no more.
        _ = posix_fadvise(file.number, 0, 0, POSIX_FADV_RANDOM)
        let memory = try AnonymousMemory(byteCount: 4096)
        let count = try unsafe file.read(into: memory.bytes, at: UInt64(page) * 4096, path)
        return unsafe count == 4096 && memory.bytes[0] == 7
    }

    @Test func unmountingLazilyKeepsServingUntilTheLastUser() throws {
        let mounted = try MountedFilesystem()
        let file = try OwnedDescriptor.open(mounted.path("big"), O_RDONLY)
        #expect(try mounted.point.unmount() == false)
        let memory = try AnonymousMemory(byteCount: 4096)
        #expect(try unsafe file.read(into: memory.bytes, at: 1 << 20, "big") == 4096)
        #expect(try waitForInput(on: [mounted.session.endDescriptor], milliseconds: 50) == nil)
        _ = consume file
        try mounted.session.waitUntilEnded()
    }

    @Test func aDeadMountIsClearedAndALiveOneRefused() throws {
        let point: MountPoint
        do {
            let mounted = try MountedFilesystem()
            point = mounted.point
            let error = #expect(throws: SystemError.self) { try point.clearStale() }
            #expect(error?.code == EBUSY)
        }
        // What a process leaves that was killed: a mount whose descriptor is closed.
        try FileSystem.makeDirectories(point.path)
        for _ in 0..<2 {
            let device = try OwnedDescriptor.open("/dev/fuse", O_RDWR)
            try mountFileSystem(
                source: "dead",
                at: point.path,
                type: FuseSession.typeName,
                restrictions: .readOnly,
                options: "fd=\(device.number),rootmode=40000,user_id=0,group_id=0"
            )
        }
        #expect(try MountPoint(point.path).clearStale() == 2)
        #expect(try MountTable().topmost(at: point.path) == nil)
        _ = unsafe rmdir(point.path)
    }
}
