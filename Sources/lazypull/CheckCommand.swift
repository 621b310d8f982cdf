// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Check
internal import Distribution
internal import Linux
internal import OCI

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
            against, dump, SharedOptions.platform, SharedOptions.layers,
            SharedOptions.indexDirectory,
        ] + RegistryOptions.ofCommands + LimitOptions.all + [
            SharedOptions.threads, SharedOptions.quiet, SharedOptions.output,
        ],
        operands: [
            Operand("IMAGE", SharedOptions.image, help: "The converted image.")
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        guard !arguments.has(against) || !arguments.has(SharedOptions.layers) else {
            throw UsageError("--layers does not go with --against, which compares whole images")
        }
        let images = Images(arguments)
        let image = try images.converted()
        let original = try arguments.text(against).map {
            try images.source(
                try Images.name($0),
                try SharedOptions.selection(arguments, .original)
            )
        }
        let reporter = ProgressReporter("checking", isQuiet: arguments.has(SharedOptions.quiet))
        let check = ImageCheck(
            image,
            threads: SharedOptions.threadCount(arguments),
            limits: LimitOptions.limits(arguments)
        ) {
            reporter.update($0)
        }
        if arguments.has(dump) {
            guard original == nil, arguments.text(SharedOptions.output) == "text" else {
                throw UsageError("--dump goes neither with --against nor with --output json")
            }
            let output = OutputBuffer()
            try check.dump { try output.write("\($0)\n") }
            try output.flush()
            return .done
        }
        let report: CheckReport
        do {
            report = try check.run(against: original)
        } catch {
            reporter.abandon()
            throw error
        }
        reporter.finish()
        try Report.print(
            arguments,
            isResult: !report.differences.isEmpty,
            text: text(report, image, isCompared: original != nil),
            json: json(report, image)
        )
        return report.differences.isEmpty ? .done : .failed
    }

    private static func text(
        _ report: CheckReport,
        _ image: any ImageSource,
        isCompared: Bool
    ) -> String {
        var text = report.differences.map { "\($0)\n" }.joined()
        text += "\(image.name): \(report.nameCount) names, \(report.chunkCount) chunks,"
        text += " \(ByteCount.text(report.contentSize)) of content: every digest is right"
        if isCompared {
            text +=
                report.differences.isEmpty
                ? ", and every file is as in the source"
                : ", but \(report.differences.count) differences from the source"
        }
        return text + "\n"
    }

    private static func json(_ report: CheckReport, _ image: any ImageSource) -> JSONValue {
        .object([
            "image": .string(image.name),
            "names": .integer(Int64(report.nameCount)),
            "chunks": .integer(Int64(report.chunkCount)),
            "contentSize": .unsigned(report.contentSize),
            "differences": .array(report.differences.map { .string($0) }),
        ])
    }
}
