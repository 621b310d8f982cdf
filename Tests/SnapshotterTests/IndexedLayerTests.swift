// SPDX-License-Identifier: Apache-2.0

import Compression
import Containerd
import Content
import Distribution
import OCI
import Synchronization
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Layers of ordinary images by an index")
struct IndexedLayerTests {
    private let index = MemoryImage()
    private let ordinary = MemoryImage(["first", "second"])

    /// The labels that the CRI sends with a layer of the ordinary image.
    private func labels(_ layer: Int) -> [String: String] {
        ordinary.labels(layer).filter { !$0.key.contains("nydus") }
    }

    private func found() throws -> FoundIndex {
        FoundIndex(image: try ordinary.resolve(), index: try index.resolve(), place: .referrers)
    }

    /// Prepares a layer: the code of its refusal, nil where containerd is to unpack it.
    private func prepare(
        _ snapshotter: Snapshotter,
        _ layer: Int,
        changing changes: [String: String] = [:]
    ) -> RPCStatus.Code? {
        let parent = layer == 0 ? "" : ordinary.chain[layer - 1].oci
        return code { () throws(RPCStatus) in
            try snapshotter.prepare(
                "default/\(layer)/extract-\(changes.count)",
                parent,
                labels(layer).merging(changes) { $1 }
            )
        }
    }

    @Test func layersAreProvidedAfterOneQuestion() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(index)
        let found = try found()
        mounter.counts.withLock { $0.index = .success(found) }
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        #expect(prepare(snapshotter, 0) == .alreadyExists)
        // The image is mounted before its first layer is promised.
        let place = "\(directory.path)/root/mounts/\(index.digest.hex)"
        #expect(mounter.now.mounts == [place])
        #expect(prepare(snapshotter, 1) == .alreadyExists)
        #expect(try snapshotter.names() == ordinary.chain.map(\.oci).sorted())
        #expect(mounter.now.questions == 1)
        #expect(mounter.now.resolves == 1)
        let mounts = try snapshotter.prepare("container", ordinary.chain[1].oci)
        #expect(mounts[0].options.contains("lowerdir=\(place)"))
        snapshotter.close()
    }

    @Test func otherLayersAreUnpacked() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(index)
        let found = try found()
        mounter.counts.withLock { $0.index = .success(found) }
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        let wrong = StreamingDigest.digest(of: Array("another".utf8)).oci
        for label in ["containerd.io/snapshot.ref", "containerd.io/snapshot/cri.layer-digest"] {
            #expect(prepare(snapshotter, 0, changing: [label: wrong]) == nil, "\(label)")
            try snapshotter.remove("default/0/extract-1")
        }
        snapshotter.close()
    }

    @Test(arguments: [nil, ContentError(.inputOutput, "no registry")])
    func withoutAnIndexTheImageIsUnpacked(failure: ContentError?) throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(index)
        mounter.counts.withLock { $0.index = failure.map { .failure($0) } ?? .success(nil) }
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        for number in 0..<3 {
            #expect(prepare(snapshotter, 0, changing: ["\(number)": ""]) == nil)
            try snapshotter.remove("default/0/extract-1")
        }
        #expect(mounter.now.questions == 1)
        snapshotter.close()
    }

    @Test func anIndexThatCannotBeMountedIsNone() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(index)
        let found = try found()
        mounter.counts.withLock { counts in
            counts.index = .success(found)
            counts.failure = .corrupt("its bootstrap")
        }
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        #expect(prepare(snapshotter, 0) == nil)
        #expect(try snapshotter.names() == ["default/0/extract-0"])
        snapshotter.close()
    }

    @Test func answersEnd() throws {
        let answers = IndexAnswers()
        let image = try IndexedImage(found(), in: Reference("registry.test/app:tag"))
        answers.keep(image, for: "lasting", isLasting: true, now: 0)
        answers.keep(nil, for: "short", isLasting: false, now: 0)
        let second: UInt64 = 1_000_000_000
        #expect(answers.known("lasting", now: 599 * second) == .some(image))
        #expect(answers.known("lasting", now: 601 * second) == nil)
        #expect(answers.known("short", now: 59 * second) == .some(nil))
        #expect(answers.known("short", now: 61 * second) == nil)
        #expect(answers.known("other", now: 0) == nil)
    }
}
