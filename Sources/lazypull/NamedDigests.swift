// SPDX-License-Identifier: Apache-2.0

internal import Content
internal import Distribution
internal import OCI

/// What an image's name stands for before and after work that must leave the image as it is.
struct NamedDigests {
    private let name: String
    private let before: Digest
    private let after: Digest

    /// Asks, has the work done, and asks anew.
    ///
    /// - Parameters:
    ///   - source: gives the image; called twice, so that nothing is remembered.
    ///   - isAsked: whether the digests matter; else nothing is asked beside the work.
    ///   - work: gets the image.
    /// - Returns: what the work returns, and the digests.
    /// - Throws: an error if the name leads nowhere; what the work throws.
    static func around<T>(
        _ source: () throws -> any ImageSource,
        isAsked: Bool,
        _ work: (any ImageSource) throws -> T
    ) throws -> (result: T, digests: NamedDigests?) {
        let image = try source()
        guard isAsked else { return (try work(image), nil) }
        let before = try image.root().digest
        let result = try work(image)
        let after = try source().root().digest
        return (result, NamedDigests(name: image.name, before: before, after: after))
    }

    /// A line for people.
    var text: String {
        "\(name) was \(before) before\n"
            + (before == after
                ? "and is \(after) after: not changed\n"
                : "and is \(after) now: somebody else has changed it meanwhile\n")
    }

    /// The same for programs.
    var json: JSONValue {
        .object([
            "name": .string(name), "before": .string(before.oci), "after": .string(after.oci),
        ])
    }
}
