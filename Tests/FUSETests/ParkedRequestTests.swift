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
    .timeLimit(.minutes(1))
)
struct ParkedRequestTests {
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
    private func startReader(_ mounted: MountedFilesystem, isDirect: Bool) throws -> pid_t {
        var process = pid_t()
        let flags = isDirect ? "iflag=direct" : "iflag=fullblock"
        let words = ["dd", "if=\(mounted.path("stalled"))", flags, "bs=4096", "status=none"]
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        defer {
            for index in unsafe arguments.indices { unsafe free(arguments[index]) }
        }
        let code = unsafe posix_spawn(&process, "/bin/dd", nil, nil, &arguments, nil)
        guard code == 0 else { throw SystemError("posix_spawn", "/bin/dd", code: code) }
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

    @Test(arguments: [false, true])
    func aKilledReaderEndsAtOnce(isDirect: Bool) throws {
        let mounted = try MountedFilesystem()
        let process = try startReader(mounted, isDirect: isDirect)
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
        #expect(isAnswered(parked) == isDirect)
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
                isReadOnly: true,
                options: "fd=\(device.number),rootmode=40000,user_id=0,group_id=0"
            )
        }
        #expect(try MountPoint(point.path).clearStale() == 2)
        #expect(try MountTable().topmost(at: point.path) == nil)
        _ = unsafe rmdir(point.path)
    }
}
