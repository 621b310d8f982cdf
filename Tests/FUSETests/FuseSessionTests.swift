// SPDX-License-Identifier: Apache-2.0

import CLinux
import FUSE
import Glibc
import Linux
import Testing

@Suite(
    "FUSE session",
    .enabled(if: canMount, "needs root and /dev/fuse"),
    .serialized,
    .timeLimit(.minutes(5))
)
struct FuseSessionTests {
    @Test func showsAttributesThroughTheKernel() throws {
        let mounted = try MountedFilesystem()
        let hello = try mounted.status("hello")
        #expect(hello.st_mode == 0o104_644)
        #expect(hello.st_ino == 1)
        #expect(hello.st_size == TinyFilesystem.hello.count)
        #expect(hello.st_mtim.tv_sec == -5)
        #expect(hello.st_mtim.tv_nsec == 7)
        let root = try mounted.status(".")
        #expect(root.st_mode == 0o040_755)
        #expect(root.st_ino == 128)
        let device = try mounted.status("device")
        #expect(gnu_dev_major(device.st_rdev) == 3)
        #expect(gnu_dev_minor(device.st_rdev) == 0x134)
        #expect(throws: SystemError.self) { try mounted.status("absent") }
    }

    @Test func aBrokenInodeIsAnErrorAndNotAnAbsence() throws {
        let mounted = try MountedFilesystem()
        let error = #expect(throws: SystemError.self) { try mounted.status("broken") }
        #expect(error?.code == EIO)
    }

    @Test func listsTheDirectory() throws {
        let mounted = try MountedFilesystem()
        guard let directory = unsafe opendir(mounted.point.path) else {
            throw SystemError("opendir", mounted.point.path, code: errno)
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            names.append(name)
        }
        #expect(names == TinyFilesystem.names.map(\.name))
    }

    @Test func readsFilesAndLinks() throws {
        let mounted = try MountedFilesystem()
        #expect(try FileSystem.contents(of: mounted.path("hello")) == TinyFilesystem.hello)
        #expect(try FileSystem.contents(of: mounted.path("link")) == TinyFilesystem.hello)
        let big = try FileSystem.contents(of: mounted.path("big"))
        #expect(big.count == Int(TinyFilesystem.bigSize))
        let isRight = big.indices.allSatisfy { big[$0] == TinyFilesystem.byte(at: UInt64($0)) }
        #expect(isRight)
    }

    @Test func readsWithoutThePageCache() throws {
        let mounted = try MountedFilesystem()
        let direct: Int32 = 0o40000  // O_DIRECT on x86-64 and arm64 differs: asked for by number
        let flag: Int32
        #if arch(arm64)
        flag = 0o200000
        #else
        flag = direct
        #endif
        let file = try OwnedDescriptor.open(mounted.path("big"), O_RDONLY | flag)
        let memory = try AnonymousMemory(byteCount: 2 << 20)
        let count = try unsafe file.read(into: memory.bytes, at: 1 << 20, "big")
        #expect(count == 2 << 20)
        let isRight = unsafe memory.bytes.indices.allSatisfy {
            unsafe memory.bytes[$0] == TinyFilesystem.byte(at: UInt64($0) + 1 << 20)
        }
        #expect(isRight)
    }

    @Test func seeksHoles() throws {
        let mounted = try MountedFilesystem()
        let file = try OwnedDescriptor.open(mounted.path("big"), O_RDONLY)
        #expect(lseek(file.number, 100, 3) == 100)
        #expect(lseek(file.number, 100, 4) == Int(TinyFilesystem.bigSize))
        #expect(lseek(file.number, Int(TinyFilesystem.bigSize), 3) == -1)
    }

    @Test func showsXattrsButNotTheOverlaysOwn() throws {
        let mounted = try MountedFilesystem()
        var buffer = [UInt8](repeating: 0, count: 16)
        let count = unsafe getxattr(mounted.path("hello"), "user.colour", &buffer, buffer.count)
        #expect(count == 4)
        #expect(buffer.prefix(4).elementsEqual("blue".utf8))
        #expect(unsafe getxattr(mounted.path("hello"), "user.colour", &buffer, 3) == -1)
        #expect(errno == ERANGE)
        #expect(unsafe getxattr(mounted.path("hello"), "trusted.overlay.opaque", nil, 0) == -1)
        #expect(errno == ENODATA)
        #expect(unsafe listxattr(mounted.path("hello"), nil, 0) == 12)
    }

    @Test func withoutXattrsTheKernelIsToldToAskNeverAgain() throws {
        let mounted = try MountedFilesystem(hasXattrs: false)
        for name in ["hello", "big", "hello"] {
            #expect(unsafe getxattr(mounted.path(name), "user.colour", nil, 0) == -1)
            #expect(errno == EOPNOTSUPP)
        }
        #expect(mounted.session.requestCount(opcode: Opcode.getxattr) == 1)
    }

    @Test func isReadOnlyAndKeepsSetuid() throws {
        let mounted = try MountedFilesystem()
        #expect(unsafe access(mounted.path("hello"), W_OK) == -1)
        #expect(errno == EROFS)
        let table = try FileSystem.contents(of: "/proc/self/mountinfo")
        let text = String(decoding: table, as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.contains(mounted.point.path) }
        #expect(line?.contains("nosuid") == false)
        #expect(line?.contains(" - fuse.lazypull tiny ") == true)
        #expect(line?.contains("default_permissions,allow_other") == true)
    }

    @Test func setsTheReadAhead() throws {
        let mounted = try MountedFilesystem()
        #expect(try mounted.point.setReadAhead(kilobytes: 256) == 256)
        let device = try #require(try MountTable().topmost(at: mounted.point.path)?.device)
        let setting = try FileSystem.contents(of: "/sys/class/bdi/\(device)/read_ahead_kb")
        #expect(setting == Array("256\n".utf8))
    }

    @Test func keepsTheInitRequest() throws {
        let mounted = try MountedFilesystem()
        let kept = mounted.session.keptInitRequest
        #expect(kept.count >= 56)
        #expect(kept.dropFirst(4).first == 26)
    }

    /// What is asked of the kernel, by the bits of fuse_init_out in linux/fuse.h.
    @Test func asksTheKernelForWhatItShould() throws {
        let mounted = try MountedFilesystem()
        let reply = mounted.session.keptInitReply
        try #require(reply.count >= 16 + 24)
        let flags = unsafe reply.withUnsafeBytes {
            unsafe $0.loadUnaligned(fromByteOffset: 16 + 12, as: UInt32.self)
        }
        // ASYNC_READ, EXPORT_SUPPORT, DO_READDIRPLUS, PARALLEL_DIROPS, POSIX_ACL, MAX_PAGES,
        // CACHE_SYMLINKS.
        for bit in [0, 4, 13, 18, 20, 22, 23] as [UInt32] {
            #expect(flags >> bit & 1 == 1, "bit \(bit)")
        }
        // READDIRPLUS_AUTO; ASYNC_DIO, with which SIGKILL does not end a direct read.
        for bit in [14, 15] as [UInt32] { #expect(flags >> bit & 1 == 0, "bit \(bit)") }
        let background = unsafe reply.withUnsafeBytes {
            unsafe $0.loadUnaligned(fromByteOffset: 16 + 16, as: UInt32.self)
        }
        #expect(background == 0xffff_ffff)
    }

    /// Containers in user namespaces of their own share one mount, by FUSE_INIT_EXT and
    /// FUSE_ALLOW_IDMAP, if the kernel offers them (6.12).
    @Test func allowsIDMappedMountsWhereTheKernelCan() throws {
        let mounted = try MountedFilesystem()
        func word(_ bytes: [UInt8], _ place: Int) -> UInt32 {
            guard bytes.count >= place + 4 else { return 0 }
            return unsafe bytes.withUnsafeBytes {
                unsafe $0.loadUnaligned(fromByteOffset: place, as: UInt32.self)
            }
        }
        let isOffered = word(mounted.session.keptInitRequest, 40 + 16) >> 8 & 1
        let reply = mounted.session.keptInitReply
        #expect(word(reply, 16 + 32) >> 8 & 1 == isOffered)
        #expect(word(reply, 16 + 12) >> 30 & 1 == isOffered)
    }

    private enum Opcode {
        static let lookup = 1
        static let getattr = 3
        static let readlink = 5
        static let open = 14
        static let statfs = 17
        static let getxattr = 22
        static let opendir = 27
        static let readdirplus = 44
    }

    private func list(_ path: String) throws {
        guard let directory = unsafe opendir(path) else {
            throw SystemError("opendir", path, code: errno)
        }
        while unsafe readdir(directory) != nil {}
        _ = unsafe closedir(directory)
    }

    @Test func openIsRefusedOnceAndAskedNoMore() throws {
        let mounted = try MountedFilesystem()
        for _ in 0..<10 {
            _ = try FileSystem.contents(of: mounted.path("hello"))
            try list(mounted.point.path)
        }
        #expect(mounted.session.requestCount(opcode: Opcode.open) == 1)
        #expect(mounted.session.requestCount(opcode: Opcode.opendir) == 1)
    }

    @Test func whatWasAnsweredOnceIsNotAskedAgain() throws {
        let mounted = try MountedFilesystem()
        func use() throws {
            try list(mounted.point.path)
            for name in ["hello", "big", "link"] { _ = try mounted.status(name) }
            #expect(unsafe access(mounted.path("absent"), F_OK) == -1)
            _ = try FileSystem.contents(of: mounted.path("link"))
        }
        try use()
        let kinds = [Opcode.lookup, Opcode.getattr, Opcode.readlink, Opcode.readdirplus]
        let before = kinds.map { mounted.session.requestCount(opcode: $0) }
        for _ in 0..<5 { try use() }
        #expect(kinds.map { mounted.session.requestCount(opcode: $0) } == before)
        // All attributes came with the directory: nobody asked for them one by one.
        #expect(before[3] > 0)
    }

    @Test func livenessIsAskedOfTheProcessEachTime() throws {
        let mounted = try MountedFilesystem()
        let before = mounted.session.requestCount(opcode: Opcode.statfs)
        for _ in 0..<3 {
            #expect(try Liveness.probe(mounted.point.path, milliseconds: 5_000) == .alive)
        }
        #expect(mounted.session.requestCount(opcode: Opcode.statfs) == before + 3)
    }

    @Test func manyReadersShareTheWorkers() throws {
        let mounted = try MountedFilesystem(workers: 4)
        let path = mounted.path("big")
        let wrong = Monitor(0)
        let left = Monitor(8)
        for seed in 0..<8 {
            let thread = try WorkerThread(name: "reader") {
                let isRight = (try? Self.readAtRandom(path, seed)) ?? false
                if !isRight { wrong.update { $0 += 1 } }
                left.update { $0 -= 1 }
            }
            thread.detach()
        }
        _ = left.wait { $0 == 0 ? true : nil }
        #expect(wrong.update { $0 } == 0)
    }

    private static func readAtRandom(_ path: String, _ seed: Int) throws -> Bool {
        let file = try OwnedDescriptor.open(path, O_RDONLY)
        let memory = try AnonymousMemory(byteCount: 5000)
        var place = UInt64(seed) &* 977
        for _ in 0..<500 {
            place = (place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407)
            let offset = (place >> 20) % (TinyFilesystem.bigSize - 5000)
            guard try unsafe file.read(into: memory.bytes, at: offset, path) == 5000 else {
                return false
            }
            for index in [0, 1, 2500, 4999]
            where unsafe memory.bytes[index] != TinyFilesystem.byte(at: offset + UInt64(index)) {
                return false
            }
        }
        return true
    }
}
