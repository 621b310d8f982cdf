// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Distribution
internal import OCI

/// `lazypull push`: copies an image as it is, with all it references.
enum PushCommand {
    private static let jobs = Option(
        "jobs",
        short: "j",
        value: OptionValue("N", .integer(1...64), fallback: "6"),
        help: "Send N blobs at once."
    )

    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "push",
        summary: "Copy an image into a registry, with all platforms and referrers",
        options: [jobs] + RegistryOptions.ofCommands + [SharedOptions.quiet, SharedOptions.output],
        operands: [
            Operand("SOURCE", SharedOptions.image, help: "The image, or the index."),
            Operand("TARGET", SharedOptions.image, help: "Where it goes."),
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let images = Images(arguments)
        let source = try images.source(Images.name(arguments.operands[0]), ImageSelection())
        let target = try Images.name(arguments.operands[1])
        let reporter = ProgressReporter("copying", isQuiet: arguments.has(SharedOptions.quiet))
        let copy = ImageCopy(
            from: source,
            to: try images.destination(target),
            tag: target.tag ?? ImageName.defaultTag,
            threads: arguments.integer(jobs) ?? 6
        )
        let report: ImageCopyReport
        do {
            report = try copy.run { reporter.update($0) }
        } catch {
            reporter.abandon()
            throw error
        }
        reporter.finish()
        try Report.print(
            arguments,
            text: text(report, target),
            json: .object([
                "target": .string(target.description),
                "root": report.root.json,
                "manifests": .integer(Int64(report.manifestCount)),
                "blobs": .integer(Int64(report.blobCount)),
                "sentBlobs": .integer(Int64(report.sentCount)),
                "sentSize": .unsigned(report.sentBytes),
            ])
        )
        return .done
    }

    private static func text(_ report: ImageCopyReport, _ target: ImageName) -> String {
        "\(target) is \(report.root.digest): \(report.manifestCount) manifests,"
            + " \(report.blobCount) blobs, \(report.sentCount) of them sent"
            + " (\(ByteCount.text(report.sentBytes)))\n"
    }
}
