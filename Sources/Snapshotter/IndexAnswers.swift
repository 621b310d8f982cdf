// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Linux
import OCI
import Synchronization

/// An ordinary image with an index over its layers.
struct IndexedImage: Sendable, Equatable {
    /// The index, by its digest.
    let index: Reference
    /// The image's layers, lowest first.
    let layers: [Digest]
    /// For each the chain ID, which follows from the image's configuration.
    let chainIDs: [Digest]

    /// The image that was found in a repository.
    ///
    /// - Throws: `ContentError` if the repository's name is none.
    init(_ found: FoundIndex, in repository: Reference) throws(ContentError) {
        index = try repository.named(by: found.index.descriptor.digest)
        layers = found.image.manifest.layers.map(\.digest)
        chainIDs = ImageChain.chainIDs(of: found.image.config.diffIDs)
    }

    /// The place of the layer that is asked for.
    ///
    /// - Parameters:
    ///   - request: the layer.
    ///   - parent: the chain ID of the snapshot below, as its label has it; nil for none.
    /// - Returns: its index, the lowest layer's being 0; nil if the image has no such layer there.
    func position(of request: OrdinaryLayerRequest, above parent: String?) -> Int? {
        guard let index = chainIDs.firstIndex(of: request.chainID),
            parent == (index == 0 ? nil : chainIDs[index - 1].oci)
        else { return nil }
        if let layer = request.layer, layer != layers[index] { return nil }
        return index
    }
}

/// What registries have answered when they were asked for indexes, so that a pull asks once, and not
/// for each layer.
final class IndexAnswers: Sendable {
    private struct Answer {
        var image: IndexedImage?
        var end: UInt64
    }

    /// How long an answer holds for a manifest, in nanoseconds: an index may come later.
    private static let time: UInt64 = 600_000_000_000
    /// How long where a tag was asked for, which may move, or nobody could be asked.
    private static let shortTime: UInt64 = 60_000_000_000
    /// How many answers are kept.
    private static let limit = 1_024

    private let answers = Mutex<[String: Answer]>([:])

    /// What was answered.
    ///
    /// - Parameters:
    ///   - key: the image.
    ///   - now: the time, of a clock that never jumps.
    /// - Returns: nil if nothing was, lately; within it, nil for no index.
    func known(_ key: String, now: UInt64) -> IndexedImage?? {
        answers.withLock { answers in
            guard let answer = answers[key], answer.end > now else { return nil }
            return .some(answer.image)
        }
    }

    /// Keeps an answer.
    ///
    /// - Parameters:
    ///   - image: nil for no index.
    ///   - key: the image.
    ///   - isLasting: whether it is about a manifest, and everybody could be asked.
    ///   - now: the time, of a clock that never jumps.
    func keep(_ image: IndexedImage?, for key: String, isLasting: Bool, now: UInt64) {
        answers.withLock { answers in
            if answers.count >= Self.limit { answers = answers.filter { $0.value.end > now } }
            if answers.count >= Self.limit { answers.removeAll() }
            answers[key] = Answer(
                image: image,
                end: now &+ (isLasting ? Self.time : Self.shortTime)
            )
        }
    }
}
