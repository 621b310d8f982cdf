// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Distribution
internal import Linux
internal import OCI

/// Options that several applets have, each declared here once.
enum SharedOptions {
    /// How many threads work.
    static let threads = Option(
        "threads",
        short: "t",
        value: OptionValue("N", .integer(1...1024), defaultText: "one per processor"),
        help: "Work with N threads."
    )

    /// No progress.
    static let quiet = Option("quiet", short: "q", help: "Print no progress, only errors.")

    /// The form of the report.
    static let output = Option(
        "output",
        short: "o",
        value: OptionValue("FORMAT", .choice(["text", "json"]), fallback: "text"),
        help: "Print the report on standard output in this form."
    )

    /// Which image of an index.
    static let platform = Option(
        "platform",
        value: OptionValue("OS/ARCH[/VARIANT]", .text, defaultText: "this machine's"),
        help: "Of an index, take the image for this platform; refuse a single one for another."
    )

    /// How many layers of a converted image.
    static let layers = Option(
        "layers",
        value: OptionValue("N", .integer(1...65_535), defaultText: "all"),
        help: """
            Take the image as it is with its first N layers alone: the bootstraps that their blobs
            carry are merged, and the image's own is not used.
            """
    )

    /// Where indexes over images' layers are kept that no registry has.
    static let indexDirectory = Option(
        "index-dir",
        value: OptionValue("DIR", .directory, defaultText: indexesOfRoot),
        help: "Look for an index over the image's layers in DIR, before its registry is asked."
    )

    /// The directory that is looked into unless another one is named.
    static let indexesOfRoot = "/var/lib/lazypull/indexes"

    /// Which image is meant by names on the command line.
    ///
    /// - Parameters:
    ///   - arguments: the command line, with `platform` among its options.
    ///   - form: of an image and its conversion, which.
    /// - Returns: the selection.
    /// - Throws: `UsageError` if the platform is none.
    static func selection(
        _ arguments: ParsedArguments,
        _ form: ImageSelection.Form
    ) throws(UsageError) -> ImageSelection {
        guard let text = arguments.text(platform) else { return ImageSelection(form: form) }
        guard let platform = Platform(text) else {
            throw UsageError("option '--platform' needs os/arch[/variant], not '\(text)'")
        }
        return ImageSelection(platform: platform, form: form)
    }

    /// The transports an image can be named by.
    static let image = ValueKind.image(transports: ImageName.transports)

    /// How many threads the command line asks for; without a word, one per processor.
    static func threadCount(_ arguments: ParsedArguments) -> Int {
        arguments.integer(threads) ?? CurrentProcess.processorCount
    }
}
