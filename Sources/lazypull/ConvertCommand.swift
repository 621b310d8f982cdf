// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Convert
internal import Distribution
internal import Linux
internal import OCI

/// `lazypull convert`: turns an OCI image into a seekable one.
enum ConvertCommand {
    static let applet = Applet(syntax: syntax, run: run)

    private static let chunkSizes = (12...24).map { (name: sizeName(bits: $0), bits: $0) }
    private static let chunkSize = Option(
        "chunk-size",
        value: OptionValue("SIZE", .choice(chunkSizes.map(\.name)), fallback: "1M"),
        help: "Cut contents into chunks of this size."
    )
    private static let compressor = Option(
        "compressor",
        value: OptionValue("NAME", .choice(["zstd", "none"]), fallback: "zstd"),
        help: "Compress chunks with zstd, or store them as they are."
    )
    private static let compressionLevel = Option(
        "compression-level",
        value: OptionValue("N", .integer(1...22), fallback: "3"),
        help: "Compress at zstd's level N."
    )
    private static let strict = Option(
        "strict",
        help: "Fail where something of a file cannot be kept, instead of warning."
    )

    private static let allPlatforms = Option(
        "all-platforms",
        help: "Convert every image of an index, and write an index."
    )
    private static let keepOriginal = Option(
        "keep-original",
        help: "Write an index of the image as it is, first, and of the converted one."
    )

    private static let syntax = Syntax(
        name: "convert",
        summary: "Turn an OCI image into one that can be mounted lazily",
        options: [
            SharedOptions.platform, allPlatforms, keepOriginal, chunkSize, compressor,
            compressionLevel, strict,
        ] + LimitOptions.all + [
            SharedOptions.threads,
            SharedOptions.quiet, SharedOptions.output,
        ],
        operands: [
            Operand("SOURCE", SharedOptions.image, help: "The image to convert."),
            Operand("TARGET", SharedOptions.image, help: "Where it goes."),
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let source = try Images.name(arguments.operands[0])
        let target = try Images.name(arguments.operands[1])
        if arguments.has(allPlatforms), arguments.has(SharedOptions.platform) {
            throw UsageError("--platform does not go with --all-platforms")
        }
        let conversion = Conversion(
            from: try Images.source(source, try SharedOptions.selection(arguments, .original)),
            to: try Images.destination(target),
            tag: target.tag ?? ImageName.defaultTag,
            options: options(arguments)
        )
        let reporter = ProgressReporter(
            "converting",
            isQuiet: arguments.has(SharedOptions.quiet)
        )
        let start = CurrentProcess.monotonicNanoseconds
        let index: Descriptor?
        let reports: [ConversionReport]
        do {
            if arguments.has(allPlatforms) || arguments.has(keepOriginal) {
                let report = try conversion.runIndex(
                    allPlatforms: arguments.has(allPlatforms),
                    keepsOriginals: arguments.has(keepOriginal)
                ) { reporter.update($0) }
                (index, reports) = (report.index, report.images)
            } else {
                (index, reports) = (nil, [try conversion.run { reporter.update($0) }])
            }
        } catch {
            reporter.abandon()
            throw error
        }
        reporter.finish()
        for warning in reports.flatMap(\.warnings) {
            try StandardStream.error.write("lazypull convert: warning: \(warning)\n")
        }
        let seconds = Double(CurrentProcess.monotonicNanoseconds - start) / 1e9
        try Report.print(
            arguments,
            text: text(index, reports, target: target),
            json: json(index, reports, seconds: seconds)
        )
        return .done
    }

    /// `4K` for 12, `1M` for 20.
    private static func sizeName(bits: Int) -> String {
        bits < 20 ? "\(1 << (bits - 10))K" : "\(1 << (bits - 20))M"
    }

    private static func options(_ arguments: ParsedArguments) -> ConversionOptions {
        let size = chunkSizes.first { $0.name == arguments.text(chunkSize) }
        let level = arguments.integer(compressionLevel) ?? 3
        return ConversionOptions(
            threads: SharedOptions.threadCount(arguments),
            chunkSize: 1 << UInt32(size?.bits ?? 20),
            compressionLevel: arguments.text(compressor) == "none" ? nil : Int32(level),
            isStrict: arguments.has(strict),
            limits: LimitOptions.limits(arguments)
        )
    }

    private static func text(
        _ index: Descriptor?,
        _ reports: [ConversionReport],
        target: ImageName
    ) -> String {
        let lines = reports.map { report in
            let stored = report.layers.reduce(report.bootstrap.size) { $0 &+ $1.blob.size }
            let chunks = report.layers.reduce(0) { $0 + $1.chunkCount }
            return "\(report.manifest.digest): \(report.layers.count) layers,"
                + " \(chunks) chunks, \(ByteCount.text(stored)) stored\n"
        }
        guard let index else { return "\(target) is \(lines.joined())" }
        return "\(target) is \(index.digest), an index with\n\(lines.joined())"
    }

    /// One image's report as it is; of an index, its descriptor and the reports.
    private static func json(
        _ index: Descriptor?,
        _ reports: [ConversionReport],
        seconds: Double
    ) -> JSONValue {
        let images = reports.map(fields)
        guard let index else {
            let fields = images.first ?? [:]
            return .object(fields.merging(["seconds": .double(seconds)]) { $1 })
        }
        return .object([
            "index": index.json,
            "images": .array(images.map { .object($0) }),
            "seconds": .double(seconds),
        ])
    }

    private static func fields(_ report: ConversionReport) -> [String: JSONValue] {
        let layers = report.layers.map { layer in
            JSONValue.object([
                "source": layer.source.json,
                "blob": layer.blob.json,
                "chunks": .integer(Int64(layer.chunkCount)),
                "deduplicatedChunks": .integer(Int64(layer.duplicateCount)),
                "uncompressedSize": .unsigned(layer.uncompressedSize),
            ])
        }
        return [
            "source": report.source.json,
            "manifest": report.manifest.json,
            "bootstrap": report.bootstrap.json,
            "layers": .array(layers),
            "warnings": .array(report.warnings.map { .string($0) }),
        ]
    }
}
