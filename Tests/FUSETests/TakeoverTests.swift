// SPDX-License-Identifier: Apache-2.0

import FUSE
import Glibc
import Linux
import Testing

@Suite(
    "Takeover of sessions",
    .enabled(if: canMount, "needs root and /dev/fuse"),
    .serialized,
    .timeLimit(.minutes(5))
)
struct TakeoverTests {
    /// A mount that is served by one process after another, as far as the kernel sees.
    private final class Relay {
        let point: MountPoint
        private let filesystem = TinyFilesystem(hasXattrs: true)
        private var workers: FuseWorkers
        private var session: FuseSession?
        let initRequest: [UInt8]
        let device: Int32

        init() throws {
            var template = Array("/tmp/lazypull-fuse-XXXXXX".utf8CString)
            guard let path = unsafe mkdtemp(&template) else {
                throw SystemError("mkdtemp", "/tmp", code: errno)
            }
            point = try MountPoint(unsafe String(cString: path))
            workers = try FuseWorkers(count: 4)
            let session = try FuseSession(filesystem, mountedAt: point.path, source: "tiny")
            try workers.serve(session)
            try point.awaitAnswer()
            device = try session.duplicateDescriptor().release()
            initRequest = session.keptInitRequest
            self.session = session
        }

        deinit {
            try? unmountFileSystem(at: point.path, lazily: true)
            try? session?.waitUntilEnded()
            workers.stop()
            close(device)
            _ = unsafe rmdir(point.path)
        }

        /// Serves no more, as if the process had died: the descriptor stays open elsewhere.
        func abandon() {
            workers.stop()
            session = nil
        }

        /// Receives requests and answers none, as a process does that dies over them.
        ///
        /// - Returns: how many.
        func swallow(atMost limit: Int) -> Int {
            var buffer = [UInt8](repeating: 0, count: (1 << 20) + 4096)
            var count = 0
            while count < limit, unsafe read(device, &buffer, buffer.count) > 0 { count += 1 }
            return count
        }

        func takeOver() throws {
            let next = try FuseSession(
                filesystem,
                takingOver: OwnedDescriptor.duplicate(of: device, "/dev/fuse"),
                initRequest: initRequest
            )
            // Who receives before would receive twice.
            try next.resendRequests()
            workers = try FuseWorkers(count: 4)
            try workers.serve(next)
            #expect(next.keptInitRequest == initRequest)
            session = next
        }

        func requestCount(opcode: Int) -> UInt64 { session?.requestCount(opcode: opcode) ?? 0 }
    }

    /// Reads of `big` at random places past the page cache, until the flag is set.
    private static func readOn(_ path: String, _ seed: Int, _ isOver: Monitor<Bool>) -> (Int, Int) {
        var (reads, failures) = (0, 0)
        var place = UInt64(seed) &* 977
        guard let file = try? OwnedDescriptor.open(path, O_RDONLY),
            let memory = try? AnonymousMemory(byteCount: 5000)
        else { return (0, 1) }
        while !isOver.update({ $0 }) {
            place = place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let offset = (place >> 20) % (TinyFilesystem.bigSize - 5000)
            // What is in the page cache is not asked for.
            _ = posix_fadvise(file.number, 0, 0, POSIX_FADV_DONTNEED)
            reads += 1
            let count = (try? unsafe file.read(into: memory.bytes, at: offset, path)) ?? -1
            let isRight =
                unsafe count == 5000
                && memory.bytes.indices.allSatisfy {
                    unsafe memory.bytes[$0] == TinyFilesystem.byte(at: offset + UInt64($0))
                }
            if !isRight { failures += 1 }
        }
        return (reads, failures)
    }

    @Test func readersNoticeNothing() throws {
        let relay = try Relay()
        let path = "\(relay.point.path)/big"
        let isOver = Monitor(false)
        let sums = Monitor((reads: 0, failures: 0))
        let readers = ThreadGroup()
        for seed in 0..<8 {
            try readers.start(name: "reader") {
                let (reads, failures) = Self.readOn(path, seed, isOver)
                sums.update {
                    $0.reads += reads
                    $0.failures += failures
                }
            }
        }
        var swallowed = 0
        var served: UInt64 = 0
        for _ in 0..<40 {
            relay.abandon()
            // Some are received and lost, others nobody has received.
            var count = 0
            while count == 0 { count = relay.swallow(atMost: 5) }
            swallowed += count
            try relay.takeOver()
            while relay.requestCount(opcode: 15) < 20 { sched_yield() }
            served += relay.requestCount(opcode: 15)
        }
        isOver.update { $0 = true }
        readers.wait()
        #expect(sums.update { $0.failures } == 0)
        #expect(sums.update { $0.reads } > 0)
        #expect(served >= 800)
        // Else nothing had to be sent again.
        #expect(swallowed >= 40)
    }

    @Test func whatIsNoInitRequestIsRefused() throws {
        for bytes in [[], [UInt8](repeating: 0, count: 104), [UInt8](repeating: 26, count: 56)] {
            let device = try OwnedDescriptor.open("/dev/fuse", O_RDWR | O_NONBLOCK)
            let error = #expect(throws: SystemError.self) {
                let copy = try OwnedDescriptor.duplicate(of: device.number, "/dev/fuse")
                _ = try FuseSession(
                    TinyFilesystem(hasXattrs: true),
                    takingOver: copy,
                    initRequest: bytes
                )
            }
            #expect(error?.code == EPROTO)
        }
    }

    @Test func aMountThatHasEndedEndsTheSession() throws {
        let relay = try Relay()
        relay.abandon()
        try unmountFileSystem(at: relay.point.path, lazily: true)
        let session = try FuseSession(
            TinyFilesystem(hasXattrs: true),
            takingOver: OwnedDescriptor.duplicate(of: relay.device, "/dev/fuse"),
            initRequest: relay.initRequest
        )
        let workers = try FuseWorkers(count: 1)
        try workers.serve(session)
        try session.waitUntilEnded()
        workers.stop()
    }
}
