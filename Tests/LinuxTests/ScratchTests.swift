// SPDX-License-Identifier: Apache-2.0

import Glibc
import TestSupport
import Testing

@testable import Linux

@Suite("Scratch files")
struct ScratchTests {
    @Test func anUnnamedFileHoldsBytesAndHasNoName() throws {
        let directory = TemporaryDirectory()
        let file = try FileSystem.unnamedFile(in: directory.path)
        let bytes: [UInt8] = [1, 2, 3]
        try file.write(unsafe bytes.span.bytes, at: 5000, "file")
        #expect(try file.status("file").size == 5003)
        #expect(try FileSystem.names(inDirectory: directory.path) == [])
        let other = try FileSystem.unnamedFile(in: directory.path)
        #expect(try other.status("other").size == 0)
    }

    @Test func whereFilesMustHaveANameItIsRemoved() throws {
        let directory = TemporaryDirectory()
        let first = try FileSystem.removedFile(in: directory.path)
        let second = try FileSystem.removedFile(in: directory.path)
        #expect(try FileSystem.names(inDirectory: directory.path) == [])
        let bytes: [UInt8] = [1, 2, 3]
        try first.write(unsafe bytes.span.bytes, at: 0, "first")
        #expect(try first.status("first").size == 3)
        #expect(try second.status("second").size == 0)
        #expect(throws: SystemError.self) {
            _ = try FileSystem.removedFile(in: "/no/such/place")
        }
    }

    @Test func aDirectoryThatIsNotThereIsNamed() {
        let error = #expect(throws: SystemError.self) {
            _ = try FileSystem.unnamedFile(in: "/no/such/place")
        }
        #expect(error?.code == ENOENT)
        #expect(error?.description.contains("/no/such/place") == true)
    }

    @Test func freeSpaceIsKnown() throws {
        let directory = TemporaryDirectory()
        #expect(try FileSystem.availableBytes(at: directory.path) > 1 << 20)
        #expect(throws: SystemError.self) { try FileSystem.availableBytes(at: "/no/such/place") }
    }

    @Test func noSpaceSaysWhatWasToBeDone() {
        let error = SystemError.noSpace("spool 5 bytes", "in /dir, where 4 are free")
        #expect(error.code == ENOSPC)
        #expect(
            error.description
                == "spool 5 bytes in /dir, where 4 are free: No space left on device"
        )
    }
}
