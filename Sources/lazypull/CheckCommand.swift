// SPDX-License-Identifier: Apache-2.0

internal import Arguments

/// `lazypull check`: verifies a converted image.
enum CheckCommand {
    private static let against = Option(
        "against",
        value: OptionValue("SOURCE", SharedOptions.image),
        help: """
            Also read the image it was made from, and compare every file: type, mode, owner, times,
            extended attributes, links, devices, size and content.
            """
    )
    private static let dump = Option(
        "dump",
        help: "Check nothing; print the bootstrap in its canonical text form."
    )

    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "check",
        summary: "Verify a converted image, or compare it with its source",
        options: [
            against, dump, SharedOptions.threads, SharedOptions.quiet, SharedOptions.output,
        ],
        operands: [
            Operand("IMAGE", SharedOptions.image, help: "The converted image, oci:DIR[:TAG].")
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        throw Failure(.unsupported, "not wired")
    }
}
