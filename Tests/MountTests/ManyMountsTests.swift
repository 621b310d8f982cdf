// SPDX-License-Identifier: Apache-2.0

import FUSE
import Glibc
import Linux
import Log
import TestSupport
import Testing

@testable import Mount

@Suite("Many mounts", .enabled(if: canMountImages, "needs root and /dev/fuse"))
struct ManyMountsTests {
    /// In a process of its own: threads and memory of other tests are not counted.
    @Test func twoHundredTakeFewThreadsAndLittleMemory() async {
        await #expect(processExitsWith: .success) {
            try ManyMounts(count: 200).run()
        }
    }
}

let canMountImages = geteuid() == 0 && (unsafe access("/dev/fuse", R_OK | W_OK)) == 0

/// A process with many mounts, and what it costs.
private struct ManyMounts {
    let count: Int

    private struct Unexpected: Error {
        var text: String
    }

    func run() throws {
        let directory = TestDirectory()
        let options = try options(in: directory.path)
        let source = try TestImage().source
        let memoryBefore = try Self.anonymousBytes()
        let threadsBefore = try Self.threadCount()
        let engine = try MountEngine(options, Logger(level: .error))
        var mounts: [MountedImage] = []
        defer {
            for mount in mounts {
                mount.unmount()
                try? mount.close()
            }
            engine.close()
        }
        for number in 0..<count {
            let path = "\(directory.path)/mount\(number)"
            try FileSystem.makeDirectories(path)
            mounts.append(try engine.mount(source, at: MountPoint(path)))
            guard try FileSystem.contents(of: "\(path)/file") == TestImage.fileContent else {
                throw Unexpected(text: "wrong bytes in mount \(number)")
            }
        }
        let threads = try Self.threadCount() - threadsBefore
        let memory = try Self.anonymousBytes() - memoryBefore
        // The main thread is one of the process that serves.
        guard threads + 1 < 25, memory < 10_000_000 else {
            throw Unexpected(text: "\(threads) threads, \(memory) bytes")
        }
        print("\(count) mounts: \(threads + 1) threads, \(memory) bytes of anonymous memory")
    }

    private func options(in directory: String) throws -> MountOptions {
        let cache = directory + "/cache"
        try FileSystem.makeDirectories(cache)
        var options = MountOptions(cacheDirectory: cache)
        options.runtimeDirectory = directory + "/run"
        return options
    }

    private static func anonymousBytes() throws -> Int {
        let status = try FileSystem.contents(of: "/proc/self/status")
        for line in String(decoding: status, as: UTF8.self).split(separator: "\n")
        where line.hasPrefix("RssAnon:") {
            let words = line.split { $0 == " " || $0 == "\t" }
            return (Int(words[1]) ?? 0) * 1024
        }
        throw Unexpected(text: "no RssAnon")
    }

    private static func threadCount() throws -> Int {
        try FileSystem.names(inDirectory: "/proc/self/task").count
    }
}
