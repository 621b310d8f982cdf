// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Layers

/// Options that say what an image may cost.
enum LimitOptions {
    /// All of them, in the order of help.
    static let all = ofTrees + [maximumChunks, maximumSize]

    /// Those for commands that read converted images alone.
    static let ofTrees = [maximumEntries, maximumDepth]

    private static let maximumEntries = Option(
        "max-entries",
        value: OptionValue("N", .integer(1...4_294_967_295), defaultText: "50000000"),
        help: "Refuse an image with more files in a layer, or in all layers together."
    )
    private static let maximumDepth = Option(
        "max-depth",
        value: OptionValue("N", .integer(1...1_000_000), defaultText: "4096"),
        help: "Refuse an image with deeper directories."
    )
    private static let maximumChunks = Option(
        "max-chunks",
        value: OptionValue("N", .integer(1...4_294_967_295), defaultText: "67108864"),
        help: "Refuse an image with more chunks in a layer, repeated ones counted."
    )
    private static let maximumSize = Option(
        "max-layer-size",
        value: OptionValue("GIB", .integer(1...1_048_576), defaultText: "1024"),
        help: """
            Refuse an image with a layer that decompresses to more than GIB x 2^30 bytes, holes in
            files counted as the zeros they read as.
            """
    )

    /// The limits the command line asks for.
    static func limits(_ arguments: ParsedArguments) -> LayerLimits {
        var limits = LayerLimits.standard
        if let entries = arguments.integer(maximumEntries) { limits.entries = entries }
        if let depth = arguments.integer(maximumDepth) { limits.depth = depth }
        if let chunks = arguments.integer(maximumChunks) { limits.chunks = chunks }
        if let size = arguments.integer(maximumSize) { limits.decodedBytes = UInt64(size) << 30 }
        return limits
    }
}
