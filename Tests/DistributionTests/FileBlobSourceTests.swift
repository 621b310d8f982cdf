// SPDX-License-Identifier: Apache-2.0

import Content
import Glibc
import Linux
import OCI
import TestSupport
import Testing

@testable import Distribution

@Suite("Blobs of layouts")
struct FileBlobSourceTests {
    private static func bytes(
        _ source: any BlobSource,
        at offset: UInt64,
        _ count: Int
    ) throws -> [UInt8] {
        let memory = try AnonymousMemory(byteCount: count)
        try unsafe source.fetch(at: CompressedOffset(offset), into: memory.bytes)
        return unsafe Array(memory.bytes)
    }

    @Test func manySourcesHoldFewDescriptors() throws {
        let directory = TemporaryDirectory()
        let pool = DescriptorPool(limit: 3)
        let sources = try (0..<20).map { number in
            directory.write("blob\(number)", [UInt8](repeating: UInt8(number), count: 100))
            return try FileBlobSource(
                "\(directory.path)/blob\(number)",
                expectedSize: 100,
                pool: pool
            )
        }
        for _ in 0..<2 {
            for (number, source) in sources.enumerated() {
                #expect(
                    try Self.bytes(source, at: 60, 40) == .init(repeating: UInt8(number), count: 40)
                )
                #expect(pool.openCount <= 3)
            }
        }
    }

    @Test func aFileThatIsOpenIsReadAlsoWhenItIsRemoved() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/blob"
        directory.write("blob", [1, 2, 3])
        let pool = DescriptorPool(limit: 1)
        let source = try FileBlobSource(path, expectedSize: 3, pool: pool)
        try FileSystem.removeFile(path)
        #expect(try Self.bytes(source, at: 1, 2) == [2, 3])
        // Others need its descriptor.
        directory.write("other", [4])
        let other = try FileBlobSource("\(directory.path)/other", expectedSize: 1, pool: pool)
        #expect(try Self.bytes(other, at: 0, 1) == [4])
        #expect(throws: ContentError.self) { try Self.bytes(source, at: 1, 2) }
        // It may come back, whole or not.
        directory.write("blob", [5])
        let error = #expect(throws: ContentError.self) { try Self.bytes(source, at: 1, 2) }
        #expect(error?.message.contains(path) == true)
        directory.write("blob", [1, 2, 3])
        #expect(try Self.bytes(source, at: 1, 2) == [2, 3])
    }

    @Test func refusesWhatIsNotThereOrAnotherSize() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/blob"
        let missing = #expect(throws: ContentError.self) {
            try FileBlobSource(path, expectedSize: 3)
        }
        #expect(missing?.kind == .notFound)
        directory.write("blob", [1, 2, 3])
        let other = #expect(throws: ContentError.self) {
            try FileBlobSource(path, expectedSize: 4)
        }
        #expect(other?.message.hasSuffix("expected 4 bytes, found 3") == true)
        let source = try FileBlobSource(path, expectedSize: 3)
        #expect(throws: ContentError.self) { try Self.bytes(source, at: 2, 2) }
        #expect(throws: ContentError.self) { try Self.bytes(source, at: .max, 1) }
    }

    /// What the mounts of a node may come to, in a process of its own with Debian's usual limit.
    @Test func twoHundredImagesOfSixtyBlobsFitIntoAProcess() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 1024, rlim_max: 1024)
            try retryingOnInterrupt("setrlimit", "RLIMIT_NOFILE") {
                unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            }
            let directory = TemporaryDirectory()
            try FileSystem.makeDirectories("\(directory.path)/blobs/sha256")
            let layout = OCILayout(directory: directory.path, tag: nil)
            var sources: [any BlobSource] = []
            for image in 0..<200 {
                for blob in 0..<60 {
                    let digest = try Digest(image, blob)
                    let name = "blobs/sha256/\(digest.hex)"
                    directory.write(name, [UInt8(image), UInt8(blob)])
                    sources.append(
                        try layout.blobSource(
                            Descriptor(mediaType: .layer, digest: digest, size: 2)
                        )
                    )
                }
            }
            for (number, source) in sources.enumerated() {
                let expected = [UInt8(number / 60), UInt8(number % 60)]
                guard try FileBlobSourceTests.bytes(source, at: 0, 2) == expected else {
                    throw ContentError.corrupt("wrong bytes of source \(number)")
                }
            }
            let count = try FileSystem.names(inDirectory: "/proc/self/fd").count
            guard count < 200 else { throw ContentError.corrupt("\(count) descriptors") }
        }
    }
}

extension Digest {
    /// A digest that tells its place.
    fileprivate init(_ image: Int, _ blob: Int) throws {
        let head = [UInt8(image), UInt8(blob)]
        self = try Digest((head + [UInt8](repeating: 0, count: 30)).rawSpan)
    }
}
