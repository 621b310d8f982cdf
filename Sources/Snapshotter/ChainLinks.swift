// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// A snapshot of a chain: its number, the one below it, and whose files it has.
struct ChainLink: Sendable, Equatable {
    var id: Int64
    var parentID: Int64?
    var isCommitted: Bool
    var lazy: LazyLayer?
}

/// The links of committed snapshots that were looked up: they never change, and their numbers never
/// mean others.
final class ChainLinks: Sendable {
    private let links = Mutex<[Int64: ChainLink]>([:])

    /// So many are kept, some hundred bytes each.
    private static let limit = 10_000
    /// Chains end here at the latest: overlay stacks 500 layers, and damaged rows may form a ring.
    private static let lengthLimit = 1_000

    /// A snapshot and all below it, from the top.
    ///
    /// - Parameters:
    ///   - id: its number.
    ///   - load: gives a link that is not known; nil if there is none of the number.
    /// - Returns: the links.
    /// - Throws: what `load` throws.
    func chain(from id: Int64, load: (Int64) throws -> ChainLink?) throws -> [ChainLink] {
        var chain: [ChainLink] = []
        var next: Int64? = id
        while let id = next, chain.count < Self.lengthLimit, let link = try find(id, load) {
            chain.append(link)
            next = link.parentID
        }
        return chain
    }

    private func find(_ id: Int64, _ load: (Int64) throws -> ChainLink?) throws -> ChainLink? {
        if let known = links.withLock({ $0[id] }) { return known }
        guard let link = try load(id) else { return nil }
        // Another kind may still be given another parent.
        if link.isCommitted {
            links.withLock { links in
                if links.count >= Self.limit { links.removeAll(keepingCapacity: true) }
                links[id] = link
            }
        }
        return link
    }
}
