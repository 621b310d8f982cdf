// SPDX-License-Identifier: Apache-2.0

import Compression
import Containerd
import Content
import Linux
import OCI
import TestSupport
import Testing

@testable import Snapshotter

@Suite("Lazy snapshots")
struct LazySnapshotTests {
    private let image = MemoryImage()

    @Test func labelsTellWhatIsWanted() throws {
        let request = try RemoteLayerRequest(image.labels(1))
        #expect(request?.chainID == image.chain[1])
        #expect(request?.layer == image.manifest.layers[1].digest)
        #expect(request?.image?.description == "registry.test/app@\(image.digest)")
        var stargz = image.labels(1).filter { !$0.key.contains("/cri.") }
        #expect(try RemoteLayerRequest(stargz)?.image == nil)
        stargz["containerd.io/snapshot/remote/stargz.reference"] = "registry.test/app:lazy"
        stargz["containerd.io/snapshot/remote/stargz.digest"] = image.chain[0].oci
        let other = try RemoteLayerRequest(stargz)
        #expect(other?.image?.description == "registry.test/app:lazy")
        #expect(other?.layer == image.chain[0])
        var ordinary = image.labels(1)
        ordinary[NydusAnnotation.blob] = nil
        #expect(try RemoteLayerRequest(ordinary) == nil)
        #expect(try RemoteLayerRequest([:]) == nil)
        for name in ["image-ref", "layer-digest", "manifest-digest"] {
            var wrong = image.labels(1)
            wrong["containerd.io/snapshot/cri.\(name)"] = "UPPER//"
            let refusal = code { () throws(RPCStatus) in _ = try RemoteLayerRequest(wrong) }
            #expect(refusal == .invalidArgument, "\(name)")
        }
    }

    @Test func chainIDsFollowTheSpecification() {
        let (one, two) = (image.diffIDs[0], image.diffIDs[1])
        let text = Array("\(one.oci) \(two.oci)".utf8)
        #expect(image.chain[0] == one)
        #expect(image.chain[1] == StreamingDigest.digest(of: text))
        #expect(ImageChain.chainIDs(of: []).isEmpty)
    }

    @Test func layersAreProvidedWithOneFetchAndOneMount() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        #expect(snapshotter.provideAll(image) == [.alreadyExists, .alreadyExists, .alreadyExists])
        #expect(snapshotter.provideAll(image) == [.alreadyExists, .alreadyExists, .alreadyExists])
        #expect(try snapshotter.names() == image.chain.map(\.oci).sorted())
        let top = try snapshotter.stat(image.chain[2].oci)
        #expect(top.kind == .committed)
        #expect(top.parent == image.chain[1].oci)
        #expect(top.labels == image.labels(2))
        #expect(try snapshotter.usage(image.chain[2].oci).size == 0)
        let place = "\(directory.path)/root/mounts/\(image.digest.hex)"
        let mounts = try snapshotter.prepare("container", image.chain[2].oci)
        #expect(mounts[0].type == "overlay")
        #expect(mounts[0].options.contains("lowerdir=\(place)"))
        for option in ["xino=on", "metacopy=on"] { #expect(mounts[0].options.contains(option)) }
        #expect(try snapshotter.mounts("container") == mounts)
        let view = try snapshotter.view("view", image.chain[2].oci)
        #expect(view == [MountSpec(type: "bind", source: place, options: ["ro", "rbind"])])
        // The bootstrap layer has no files of its own.
        #expect(try snapshotter.view("data", image.chain[1].oci) == view)
        #expect(mounter.now.mounts == [place])
        #expect(mounter.now.resolves == 1)
        #expect(try snapshotter.disagreements() == [])
        snapshotter.close()
        #expect(mounter.now.unmounts == [place])
    }

    @Test func ordinaryLayersAboveAreStacked() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root", CountingMounter(image))
        defer { snapshotter.close() }
        _ = snapshotter.provideAll(image)
        try snapshotter.addLayer("own", image.chain[2].oci)
        let mounts = try snapshotter.prepare("container", "own")
        let lowers = try snapshotter.upper("own")
        let place = "\(directory.path)/root/mounts/\(image.digest.hex)"
        #expect(mounts[0].options.contains("lowerdir=\(lowers):\(place)"))
        #expect(mounts[0].options.contains("metacopy=on"))
    }

    @Test func firstLayersAloneHaveAMountOfTheirOwn() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        _ = snapshotter.provideAll(image)
        let view = try snapshotter.view("view", image.chain[0].oci)
        #expect(view[0].source == "\(directory.path)/root/mounts/\(image.digest.hex)-1")
        #expect(mounter.now.mounts.count == 2)
    }

    @Test(arguments: [false, true])
    func snapshotsAreThereAfterARestartWithoutTheRegistry(_ isDatabaseLost: Bool) throws {
        let directory = TemporaryDirectory()
        let root = "\(directory.path)/root"
        let mounts: [MountSpec]
        do {
            let first = try Snapshotter(root, CountingMounter(image))
            defer { first.close() }
            _ = first.provideAll(image)
            mounts = try first.prepare("container", image.chain[2].oci)
            first.waitUntilIdle()
        }
        if isDatabaseLost { try FileSystem.removeFile("\(root)/snapshots.db") }
        let mounter = CountingMounter(image)
        mounter.fail(ContentError(.inputOutput, "registry is down"))
        let second = try Snapshotter(root, mounter)
        defer { second.close() }
        #expect(try second.mounts("container") == mounts)
        #expect(try second.prepare("other", image.chain[2].oci).count == 1)
        #expect(second.provideAll(image) == [.alreadyExists, .alreadyExists, .alreadyExists])
        #expect(mounter.now.mounts.count == 1)
        #expect(try second.disagreements() == [])
    }

    @Test func theImageGoesWithItsLastSnapshot() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        _ = snapshotter.provideAll(image)
        try snapshotter.cleanup(CallContext())
        #expect(mounter.now.kept.last == Set(image.manifest.layers.map(\.digest)))
        for chain in image.chain.reversed() { try snapshotter.remove(chain.oci) }
        snapshotter.waitUntilIdle()
        #expect(try FileSystem.names(inDirectory: "\(directory.path)/root/images") == [])
        #expect(try FileSystem.names(inDirectory: "\(directory.path)/root/mounts") == [])
        #expect(mounter.now.unmounts == mounter.now.mounts)
        try snapshotter.cleanup(CallContext())
        #expect(mounter.now.kept.last == [])
        // And comes back.
        #expect(snapshotter.provideAll(image) == [.alreadyExists, .alreadyExists, .alreadyExists])
        #expect(mounter.now.resolves == 2)
    }

    @Test func labelsThatLieAreRefused() throws {
        let directory = TemporaryDirectory()
        let snapshotter = try Snapshotter("\(directory.path)/root", CountingMounter(image))
        defer { snapshotter.close() }
        let other = MemoryImage(["x", "y", "z"])
        let layer = "containerd.io/snapshot/cri.layer-digest"
        for labels in [
            [SnapshotLabels.target: other.chain[0].oci], [layer: other.chain[0].oci],
        ] {
            let refusal = code { () throws(RPCStatus) in
                try snapshotter.provide(image, 0, changing: labels)
            }
            #expect(refusal == .failedPrecondition)
        }
        try snapshotter.addLayer("below")
        for (index, parent) in [(0, "below"), (1, "below"), (1, "")] {
            let refusal = code { () throws(RPCStatus) in
                try snapshotter.provide(image, index, parent: parent)
            }
            #expect(refusal == .failedPrecondition, "\(index) on \(parent)")
        }
        #expect(try snapshotter.names() == ["below"])
        #expect(try snapshotter.disagreements() == [])
    }

    @Test func theTrueReasonFailsThePull() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        let cases: [(ContentError.Kind, RPCStatus.Code)] = [
            (.denied, .permissionDenied), (.notFound, .failedPrecondition),
            (.corrupt, .dataLoss), (.inputOutput, .unavailable),
        ]
        for (kind, expected) in cases {
            mounter.fail(ContentError(kind, "registry.test says no"))
            let error = #expect(throws: RPCStatus.self) { try snapshotter.provide(image, 0) }
            #expect(error?.code == expected)
            #expect(error?.message.contains("registry.test says no") == true)
        }
        mounter.fail(nil)
        #expect(snapshotter.provideAll(image) == [.alreadyExists, .alreadyExists, .alreadyExists])
    }

    @Test func onlyConvertedLayersAreLookedUp() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        var labels = image.labels(0)
        labels[NydusAnnotation.blob] = nil
        #expect(try snapshotter.prepare("ordinary", "", labels)[0].type == "bind")
        #expect(mounter.now.resolves == 0)
        let nameless = image.labels(0).filter { !$0.key.contains("/cri.") }
        let error = #expect(throws: RPCStatus.self) { try snapshotter.prepare("key", "", nameless) }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.message.contains("ctr-remote") == true)
    }

    @Test func manyAtOnceShareOneFetch() throws {
        let directory = TemporaryDirectory()
        let mounter = CountingMounter(image)
        let snapshotter = try Snapshotter("\(directory.path)/root", mounter)
        defer { snapshotter.close() }
        let threads = ThreadGroup()
        let image = image
        for index in 0..<8 {
            try threads.start(name: "pull-\(index)") {
                _ = code { () throws(RPCStatus) in try snapshotter.provide(image, 0) }
            }
        }
        threads.wait()
        #expect(mounter.now.resolves == 1)
        #expect(try snapshotter.names() == [image.chain[0].oci])
        #expect(try snapshotter.disagreements() == [])
    }
}
