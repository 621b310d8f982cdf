// SPDX-License-Identifier: Apache-2.0

package import OCI
import Synchronization

/// How far a walk over all layers of an image is.
package struct LayerProgress: Sendable, Equatable {
    /// Stored bytes of layers read so far.
    package var doneBytes: UInt64
    /// Stored bytes of all layers.
    package var totalBytes: UInt64
    /// Layers finished.
    package var doneLayers: Int
    /// All layers.
    package var totalLayers: Int
}

/// Keeps count of a walk over layers, for whoever shows it.
///
/// Any thread may report to it.
package final class LayerProgressMeter: Sendable {
    /// Counts stored bytes: hand it to the streams.
    package let bytes = ByteCounter()
    private let totalBytes: UInt64
    private let totalLayers: Int
    private let doneLayers = Atomic<Int>(0)
    private let show: @Sendable (LayerProgress) -> Void

    /// A meter over layers.
    ///
    /// - Parameters:
    ///   - layers: the layers that will be read.
    ///   - show: gets every report; called from several threads.
    package init(_ layers: [Descriptor], show: @escaping @Sendable (LayerProgress) -> Void) {
        totalBytes = layers.reduce(0) { $0 &+ $1.size }
        totalLayers = layers.count
        self.show = show
    }

    /// Reports what the byte counter has reached.
    package func report() {
        show(
            LayerProgress(
                doneBytes: bytes.value,
                totalBytes: totalBytes,
                doneLayers: doneLayers.load(ordering: .relaxed),
                totalLayers: totalLayers
            )
        )
    }

    /// Reports that one more layer is finished.
    package func reportLayer() {
        doneLayers.add(1, ordering: .relaxed)
        report()
    }
}
