// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Log

/// An image that containers are made from, and that cannot be mounted at the moment.
package struct DegradedImage: Sendable, Equatable {
    /// Where the image is.
    package var reference: String
    /// Why it cannot be mounted.
    package var error: String
    /// What was to be mounted last.
    var layer: LazyLayer
}

/// Images that cannot be mounted: each call tries again, and so do we from time to time.
extension LazyImages {
    /// Mounts, and keeps account of whether the image can be.
    ///
    /// - Parameters:
    ///   - layer: what is mounted.
    ///   - body: mounts it.
    /// - Returns: what the body returns.
    /// - Throws: what the body throws.
    func keepingAccount<T>(of layer: LazyLayer, _ body: () throws -> T) throws -> T {
        do {
            let result = try body()
            let wasDegraded = state.update { $0.degraded.removeValue(forKey: layer.image) != nil }
            if wasDegraded { log.info("an image is mounted again", ["image": layer.reference]) }
            return result
        } catch {
            let degraded = DegradedImage(
                reference: layer.reference,
                error: "\(error)",
                layer: layer
            )
            let isNew = state.update { state in
                state.degraded.updateValue(degraded, forKey: layer.image) == nil
            }
            if isNew {
                log.error(
                    "an image cannot be mounted, and is tried again",
                    ["image": layer.reference, "error": degraded.error]
                )
            }
            throw error
        }
    }

    /// The images that containers are made from and that cannot be mounted, by reference.
    var degradedImages: [DegradedImage] {
        state.update { Array($0.degraded.values) }.sorted { $0.reference < $1.reference }
    }

    /// Tries those again that containers are made from; the others are nobody's loss any more.
    func retryDegraded() {
        guard state.update({ !$0.degraded.isEmpty }) else { return }
        guard let used = try? store.read({ rows in try rows.imagesInUse() }) else { return }
        let degraded = state.update { state -> [DegradedImage] in
            state.degraded = state.degraded.filter { used.contains($0.key) }
            return Array(state.degraded.values)
        }
        // What is wrong is told by the account.
        for image in degraded { _ = try? mountPoint(image.layer) }
    }
}
