// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
internal import Distribution
internal import OCI

/// `lazypull gc`: frees what nobody finds any more.
enum GCCommand {
    private static let indexDirectory = Option(
        "index-dir",
        value: OptionValue("DIR", .directory, fallback: SharedOptions.indexesOfRoot),
        help: "Free what is dead in DIR, a layout with indexes over images' layers."
    )
    private static let minimumAge = Option(
        "min-age",
        value: OptionValue("SECONDS", .integer(0...31_536_000), fallback: "3600"),
        help: "Remove no blob that was written in the last SECONDS."
    )
    private static let dryRun = Option(
        "dry-run",
        short: "n",
        help: "Remove nothing, and say what would be."
    )

    static let applet = Applet(
        syntax: Syntax(
            name: "gc",
            summary: "Free what nobody finds any more",
            options: [indexDirectory, minimumAge, dryRun, SharedOptions.output],
            operands: []
        ),
        run: run
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let directory = arguments.text(indexDirectory) ?? SharedOptions.indexesOfRoot
        let isDry = arguments.has(dryRun)
        let result = try OCILayout(directory: directory, tag: nil).collect(
            olderThan: arguments.integer(minimumAge) ?? 3_600,
            isDry: isDry
        )
        try Report.print(
            arguments,
            text: "\(directory): \(isDry ? "would free" : "freed")"
                + " \(result.replaced.count) replaced indexes and \(result.blobCount) blobs, \(ByteCount.text(result.byteCount))\n",
            json: .object([
                "directory": .string(directory),
                "dryRun": .bool(isDry),
                "replaced": .array(result.replaced.map { .string($0.oci) }),
                "blobs": .integer(Int64(result.blobCount)),
                "bytes": .unsigned(result.byteCount),
            ])
        )
        return .done
    }
}
