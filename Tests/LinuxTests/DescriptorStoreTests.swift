// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import TestSupport
import Testing

@testable import Linux

@Suite("Descriptor store", .timeLimit(.minutes(2)))
struct DescriptorStoreTests {
    /// Holders in threads of this process, and what became of them.
    private final class Holders: Sendable {
        let started = Monitor(0)
        /// How often a store said that it has another holder.
        let replacements = Monitor(0)
        private let threads = ThreadGroup()

        /// A store whose holders are these.
        func store(_ path: String, startsNone: Bool = false) -> HolderStore {
            let starter: HolderStore.Starter = { listener throws(SystemError) in
                try self.start(listener)
            }
            return HolderStore(path, start: startsNone ? nil : starter)
        }

        func start(_ listener: Int32) throws(SystemError) {
            let number = try OwnedDescriptor.duplicate(of: listener, "listener").release()
            started.update { $0 += 1 }
            try threads.start(name: "holder") {
                try? DescriptorHolder(listening: OwnedDescriptor(owning: number)).run()
            }
        }

        /// Waits until all have nothing any more, and nobody is connected.
        func wait() { threads.wait() }
    }

    /// Puts a file whose content tells it from others.
    private func put(
        _ text: String,
        _ store: HolderStore,
        _ name: String,
        in directory: borrowing TemporaryDirectory
    ) throws {
        directory.write(text, Array(text.utf8))
        let file = try OwnedDescriptor.open("\(directory.path)/\(text)", O_RDONLY)
        try store.put(name, file.number)
    }

    private func contents(_ store: some DescriptorStore) throws -> [String: String] {
        var result: [String: String] = [:]
        for stored in try store.inherited() {
            let memory = try AnonymousMemory(byteCount: 64)
            let count = try unsafe stored.duplicate().read(into: memory.bytes, at: 0, stored.name)
            result[stored.name] = unsafe String(decoding: memory.bytes[..<count], as: UTF8.self)
        }
        return result
    }

    @Test func descriptorsOutliveTheirService() throws {
        let directory = TemporaryDirectory()
        // Longer than a socket's address.
        let deep = "\(directory.path)/\(String(repeating: "d", count: 200))"
        try FileSystem.makeDirectories(deep)
        let path = "\(deep)/holder.sock"
        let holders = Holders()
        let first = holders.store(path)
        #expect(try contents(first) == [:])
        try put("one", first, "mount-a", in: directory)
        try put("two", first, "mount-b", in: directory)
        try put("three", first, "mount-c", in: directory)
        first.remove("mount-c")
        first.remove("nothing")
        try put("four", first, "mount-a", in: directory)
        let status = try FileStatus(path: path)
        #expect(status.mode & 0o777 == 0o600)
        first.close()

        let second = holders.store(path)
        #expect(try contents(second) == ["mount-a": "four", "mount-b": "two"])
        // Still there: a process that dies over them loses none.
        second.close()
        let third = holders.store(path, startsNone: true)
        #expect(try contents(third) == ["mount-a": "four", "mount-b": "two"])
        third.remove("mount-a")
        third.remove("mount-b")
        #expect(try contents(third) == [:])
        third.close()
        #expect(holders.started.update { $0 } == 1)
        // It ends by itself.
        holders.wait()
        // And what it left does not stop the next one.
        #expect(try contents(holders.store(path, startsNone: true)) == [:])
        let fourth = holders.store(path)
        try put("five", fourth, "mount-d", in: directory)
        #expect(holders.started.update { $0 } == 2)
        fourth.remove("mount-d")
        fourth.close()
        holders.wait()
    }

    @Test func strangeMessagesAreRefused() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/holder.sock"
        let holders = Holders()
        let store = holders.store(path)
        try put("one", store, "mount-a", in: directory)
        let connection = try #require(try HolderSocket(path).connect())
        for bytes: [UInt8] in [
            [1], [0, 2], [2, 2], [1, 0], [1, 4], [1, 5], [1, 9], [1, 1, 0xff],
            [UInt8](repeating: 1, count: 300), [1, 1] + Array("no descriptor".utf8),
        ] {
            #expect(unsafe send(connection.number, bytes, bytes.count, 0) == bytes.count)
            #expect(try connection.receive()?.message?.kind == .refused, "\(bytes)")
        }
        #expect(try contents(store) == ["mount-a": "one"])
        store.remove("mount-a")
        connection.shutDown()
        store.close()
        holders.wait()
    }

    @Test func anotherHolderGetsEverything() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/holder.sock"
        let holders = Holders()
        // The first one says that it has taken what it gets, and dies.
        let dying = ThreadOfOneAnswer()
        let answers = Monitor(0)
        let store = HolderStore(
            path,
            start: { listener throws(SystemError) in
                if answers.update({ count in
                    count += 1
                    return count == 1
                }) {
                    try dying.start(listener)
                } else {
                    try holders.start(listener)
                }
            },
            report: { event in
                if case .replaced = event { holders.replacements.update { $0 += 1 } }
            }
        )
        try put("one", store, "mount-a", in: directory)
        _ = holders.replacements.wait { $0 == 0 ? nil : true }
        #expect(try contents(store) == ["mount-a": "one"])
        store.remove("mount-a")
        store.close()
        holders.wait()
    }

    /// Stands for a holder that is killed.
    private struct ThreadOfOneAnswer {
        func start(_ listener: Int32) throws(SystemError) {
            let number = try OwnedDescriptor.duplicate(of: listener, "listener").release()
            let thread = try WorkerThread(name: "dying") {
                let socket = OwnedDescriptor(owning: number)
                let client = clinux_accept(socket.number)
                let connection = try? HolderConnection(OwnedDescriptor(owning: client))
                _ = try? connection?.receive()
                try? connection?.send(HolderMessage(kind: .done))
            }
            thread.detach()
        }
    }

    @Test func theEndOfAMountLetsItsDescriptorGo() throws {
        let directory = TemporaryDirectory()
        let holders = Holders()
        let store = holders.store("\(directory.path)/holder.sock")
        var ends: [Int32] = [-1, -1]
        try retryingOnInterrupt("pipe", "") { unsafe pipe(&ends) }
        let writer = OwnedDescriptor(owning: ends[1])
        do {
            let reader = OwnedDescriptor(owning: ends[0])
            try store.put("mount-a", writer.number)
            #expect(try store.inherited().count == 1)
            _ = consume reader
        }
        // Its other end is gone, as of /dev/fuse after umount.
        while try !store.inherited().isEmpty { sched_yield() }
        store.close()
        holders.wait()
    }
}
