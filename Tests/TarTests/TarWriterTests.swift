// SPDX-License-Identifier: Apache-2.0

import Content
import Tar
import TestSupport
import Testing

@Suite("Tar writer")
struct TarWriterTests {
    @Test func givesBackWhatWasWritten() throws {
        let longPath = String(repeating: "d", count: 150) + "/" + String(repeating: "f", count: 100)
        var writer = TarWriter(ArraySink())
        let block = [UInt8](repeating: 7, count: 512)
        let content = lines(50)
        try writer.addDirectory("image")
        try writer.addFile("image/image.boot", content.rawSpan)
        try writer.addFile(longPath, block.rawSpan)
        let archive = try writer.finish().bytes
        #expect(archive.count % 512 == 0)
        let all = try entries(archive)
        #expect(all.map { text($0.entry.path) } == ["image/", "image/image.boot", longPath])
        #expect(all.map(\.entry.kind) == [.directory, .regular, .regular])
        #expect(all.map(\.content) == [[], content, block])
        #expect(all[0].entry.attributes == FileAttributes(permissions: 0o755))
        #expect(all[1].entry.attributes == FileAttributes(permissions: 0o444))
    }

    @Test(arguments: [
        String(repeating: "n", count: 101), String(repeating: "p", count: 156) + "/n",
    ])
    func refusesPathsThatDoNotFit(path: String) {
        #expect(throws: ContentError.self) { try add(path) }
    }

    private func add(_ path: String) throws(ContentError) {
        var writer = TarWriter(ArraySink())
        let content: [UInt8] = []
        try writer.addFile(path, content.rawSpan)
    }
}
