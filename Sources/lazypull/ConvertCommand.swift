// SPDX-License-Identifier: Apache-2.0

internal import Arguments

/// `lazypull convert`: turns an OCI image into a seekable one.
enum ConvertCommand {
    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "convert",
        summary: "Turn an OCI image into one that can be mounted lazily",
        options: [SharedOptions.threads, SharedOptions.quiet, SharedOptions.output],
        operands: [
            Operand("SOURCE", SharedOptions.image, help: "The image to convert, oci:DIR[:TAG]."),
            Operand("TARGET", SharedOptions.image, help: "Where it goes, oci:DIR[:TAG]."),
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        throw Failure(.unsupported, "not wired")
    }
}
