// SPDX-License-Identifier: Apache-2.0

import Glibc
import TestSupport
import Testing

@testable import Log

@Suite("Journal")
final class JournalTests {
    private let directory = TemporaryDirectory()

    /// What journald does: a datagram socket with a name.
    private func listen(_ path: String) throws -> Int32 {
        let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        try #require(number >= 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: Array(path.utf8))
        }
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(result == 0)
        return number
    }

    private func receive(_ number: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe recv(number, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }

    @Test func anEventIsOneDatagramOfFields() throws {
        let path = directory.path + "/journal"
        let journal = try listen(path)
        defer { _ = close(journal) }
        let log = try #require(Logger(level: .info, journal: path))
        log.warning("chunks are not cached", ["blob": "sha256:1", "fetched-bytes": 7])
        #expect(
            receive(journal) == """
                PRIORITY=4
                SYSLOG_IDENTIFIER=lazypull
                MESSAGE=chunks are not cached blob=sha256:1 fetched-bytes=7
                LAZYPULL_BLOB=sha256:1
                LAZYPULL_FETCHED_BYTES=7

                """
        )
        log.debug("not written")
        #expect(receive(journal).isEmpty)
    }

    @Test func aNameFromOutsideMakesNoField() throws {
        let path = directory.path + "/journal"
        let journal = try listen(path)
        defer { _ = close(journal) }
        let log = try #require(Logger(level: .info, journal: path))
        log.info("read", ["file": "a\nPRIORITY=0"])
        let lines = receive(journal).split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("PRIORITY=") } == ["PRIORITY=6"])
        #expect(lines.last == "LAZYPULL_FILE=a\\nPRIORITY=0")
    }

    @Test func withoutAJournalThereIsNoLogger() {
        #expect(Logger(level: .info, journal: directory.path + "/absent") == nil)
        let long = "/" + String(repeating: "x", count: 200)
        #expect(Logger(level: .info, journal: long) == nil)
    }
}
