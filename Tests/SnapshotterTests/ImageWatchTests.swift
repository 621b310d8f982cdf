// SPDX-License-Identifier: Apache-2.0

import Containerd
import Content
import Linux
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Watch over images")
struct ImageWatchTests {
    /// A snapshotter whose image is mounted, and that nobody has asked for the time yet.
    private func mounted(
        _ directory: borrowing TemporaryDirectory,
        _ mounter: CountingMounter
    ) throws -> (Snapshotter, LazyImages) {
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        #expect(
            snapshotter.provideAll(mounter.image) == [
                .alreadyExists, .alreadyExists, .alreadyExists,
            ]
        )
        #expect(mounter.now.mounts.count == 1)
        return (snapshotter, try #require(snapshotter.images))
    }

    @Test func whatNobodyUsesIsUnmountedAfterAWhile() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        let (snapshotter, images) = try mounted(directory, mounter)
        defer { snapshotter.close() }
        images.unmountIdle(after: 100, now: 1_000)
        images.unmountIdle(after: 100, now: 1_099)
        #expect(mounter.now.unmounts == [])
        images.unmountIdle(after: 100, now: 1_100)
        #expect(mounter.now.unmounts == mounter.now.mounts)
        // Once: what is gone is looked for no more.
        images.unmountIdle(after: 100, now: 9_000)
        #expect(mounter.now.unmounts.count == 1)
        // The next container finds it mounted anew, without a request.
        _ = try snapshotter.prepare("container", mounter.image.chain[2].oci)
        #expect(mounter.now.mounts.count == 2)
        #expect(mounter.now.resolves == 1)
    }

    @Test func whatContainersUseStays() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        let (snapshotter, images) = try mounted(directory, mounter)
        defer { snapshotter.close() }
        let top = mounter.image.chain[2].oci
        images.unmountIdle(after: 100, now: 0)
        _ = try snapshotter.prepare("container", top)
        _ = try snapshotter.view("view", top)
        for now in [100, 200, 300] as [UInt64] { images.unmountIdle(after: 100, now: now) }
        try snapshotter.remove("container")
        images.unmountIdle(after: 100, now: 400)
        images.unmountIdle(after: 100, now: 500)
        #expect(mounter.now.unmounts == [])
        // Its time begins when the last one has gone.
        try snapshotter.remove("view")
        images.unmountIdle(after: 100, now: 600)
        images.unmountIdle(after: 100, now: 699)
        #expect(mounter.now.unmounts == [])
        images.unmountIdle(after: 100, now: 700)
        #expect(mounter.now.unmounts.count == 1)
    }

    /// A container's snapshot is written down after its mounts are known.
    @Test func whoIsToldThePlaceHasTheWholeTime() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        let (snapshotter, images) = try mounted(directory, mounter)
        defer { snapshotter.close() }
        let image = mounter.image
        images.unmountIdle(after: 100, now: 0)
        let layer = LazyLayer(
            image: image.digest,
            reference: "registry.test/app@\(image.digest)",
            index: 2
        )
        _ = try images.mountPoint(layer)
        images.unmountIdle(after: 100, now: 100)
        #expect(mounter.now.unmounts == [])
        images.unmountIdle(after: 100, now: 200)
        #expect(mounter.now.unmounts.count == 1)
    }

    @Test func anImageIsInUseBelowOrdinaryLayersToo() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        let (snapshotter, _) = try mounted(directory, mounter)
        defer { snapshotter.close() }
        func used() throws -> Set<Digest> {
            try snapshotter.store.read { rows in try rows.imagesInUse() }
        }
        #expect(try used() == [])
        _ = try snapshotter.prepare("work", mounter.image.chain[2].oci)
        #expect(try used() == [mounter.image.digest])
        try snapshotter.commit("layer", "work")
        #expect(try used() == [])
        _ = try snapshotter.view("look", "layer")
        #expect(try used() == [mounter.image.digest])
        try snapshotter.remove("look")
        #expect(try used() == [])
    }

    @Test func whatCannotBeMountedIsDegradedAndTriedAgain() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        let image = mounter.image
        do {
            let (snapshotter, _) = try mounted(directory, mounter)
            _ = try snapshotter.prepare("container", image.chain[2].oci)
            snapshotter.close()
        }
        // After a reboot: what is stored here is damaged, and the registry is down.
        let stored = "\(directory.path)/root/images/\(image.digest.hex)"
        try FileSystem.rename("\(stored)/index.json", to: "\(stored)/lost")
        mounter.fail(ContentError(.inputOutput, "no route to registry.test"))
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        #expect(snapshotter.degradedImages == [])
        #expect(throws: RPCStatus.self) { try snapshotter.mounts("container") }
        let degraded = try #require(snapshotter.degradedImages.first)
        #expect(degraded.reference.hasSuffix(image.digest.oci))
        #expect(degraded.error.contains("no route to registry.test"))
        snapshotter.images?.retryDegraded()
        #expect(snapshotter.degradedImages.count == 1)
        // It comes back without being asked for.
        mounter.fail(nil)
        snapshotter.images?.retryDegraded()
        #expect(snapshotter.degradedImages == [])
        #expect(mounter.now.mounts.count == 2)
    }

    @Test func whatNobodyUsesIsNotTriedAgain() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter()
        mounter.fail(ContentError(.denied, "no"))
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        let layer = LazyLayer(
            image: mounter.image.digest,
            reference: "registry.test/app@\(mounter.image.digest)",
            index: 2
        )
        #expect(throws: ContentError.self) { try snapshotter.images?.mountPoint(layer) }
        #expect(snapshotter.degradedImages.count == 1)
        snapshotter.images?.retryDegraded()
        #expect(snapshotter.degradedImages == [])
    }
}
