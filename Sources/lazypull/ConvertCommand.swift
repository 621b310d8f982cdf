// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
internal import Convert
internal import Distribution
internal import Linux
internal import OCI

/// `lazypull convert`: turns an OCI image into a seekable one.
enum ConvertCommand {
    static let applet = Applet(syntax: syntax, run: run)

    private static let format = Option(
        "format",
        value: OptionValue("FORMAT", .choice(["rafs", "zran"]), fallback: "rafs"),
        help: """
            Make a RAFS image, or leave the image as it is and attach an index to it that makes its
            layers seekable.
            """
    )
    private static let spanSizes = (18...24).map { (name: sizeName(bits: $0), bits: $0) }
    private static let spanSize = Option(
        "span-size",
        value: OptionValue("SIZE", .choice(spanSizes.map(\.name)), fallback: "4M"),
        help: "With --format zran, make so much content readable with one request."
    )
    private static let mergeIndex = Option(
        "merge-index",
        help: """
            With --format zran, write an index of the image and what is attached to it, for
            registries that know no referrers.
            """
    )
    private static let indexDirectory = Option(
        "index-dir",
        value: OptionValue("DIR", .directory),
        help: "With --format zran, put the index into DIR, a layout, instead of beside the image."
    )
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
    private static let chunkDictionary = Option(
        "chunk-dict",
        value: OptionValue("IMAGE", SharedOptions.image),
        isRepeatable: true,
        help: "Store no chunk that this converted image has: refer to its blobs."
    )
    private static let buildCache = Option(
        "build-cache",
        value: OptionValue("IMAGE", SharedOptions.image),
        isRepeatable: true,
        help: "Take layers from this image that were converted in the same way before."
    )
    private static let prefetchFiles = Option(
        "prefetch-files",
        value: OptionValue("FILE", .file),
        help: """
            Put first what this list names, one path a line or nydusify's JSON, and name it in the
            prefetch table; - is standard input.
            """
    )
    private static let workDirectory = Option(
        "work-dir",
        value: OptionValue("DIR", .directory, defaultText: "$TMPDIR or /var/tmp"),
        help: "Spool here what --prefetch-files makes wait."
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
            format, SharedOptions.platform, allPlatforms, keepOriginal, spanSize, mergeIndex,
            indexDirectory, chunkSize, compressor, compressionLevel, chunkDictionary, buildCache,
            prefetchFiles, workDirectory, strict,
        ] + RegistryOptions.ofCommands + LimitOptions.all + [
            SharedOptions.threads,
            SharedOptions.quiet, SharedOptions.output,
        ],
        operands: [
            Operand("SOURCE", SharedOptions.image, help: "The image to convert."),
            Operand(
                "TARGET",
                SharedOptions.image,
                isOptional: true,
                help: "Where it goes; with --format zran by default the source."
            ),
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let source = try Images.name(arguments.operands[0])
        try check(arguments)
        let target = try target(arguments)
        let reporter = ProgressReporter(
            isIndexing(arguments) ? "indexing" : "converting",
            isQuiet: arguments.has(SharedOptions.quiet)
        )
        let images = Images(arguments)
        let start = CurrentProcess.monotonicNanoseconds
        let selection = try SharedOptions.selection(arguments, .original)
        let work = { (image: any ImageSource) in
            let conversion = Conversion(
                from: image,
                to: try images.destination(target),
                tag: target.tag ?? ImageName.defaultTag,
                options: try options(arguments, images),
                announce: { reporter.note(ConversionText.text($0)) }
            )
            return try run(conversion, arguments, reporter)
        }
        let ((index, reports), digests) = try NamedDigests.around(
            { try images.source(source, selection) },
            isAsked: isIndexing(arguments),
            work
        )
        reporter.finish()
        try warn(reports.flatMap(\.warnings))
        let seconds = Double(CurrentProcess.monotonicNanoseconds - start) / 1e9
        try Report.print(
            arguments,
            text: (digests?.text ?? "")
                + ConversionText.text(index, reports, target: target),
            json: ConversionText.json(index, reports, digests, seconds: seconds)
        )
        return .done
    }

    /// Does what the options ask for.
    ///
    /// - Returns: the index that was written, if one was, and what was made of each image.
    private static func run(
        _ conversion: Conversion,
        _ arguments: ParsedArguments,
        _ reporter: ProgressReporter
    ) throws -> (index: Descriptor?, images: [ConversionReport]) {
        let isIndexing = isIndexing(arguments)
        let keepsOriginals = arguments.has(keepOriginal) || arguments.has(mergeIndex)
        let allPlatforms = arguments.has(allPlatforms)
        do {
            if keepsOriginals || (allPlatforms && !isIndexing) {
                let report = try conversion.runIndex(
                    allPlatforms: allPlatforms,
                    keepsOriginals: keepsOriginals
                ) { reporter.update($0) }
                return (report.index, report.images)
            }
            guard isIndexing else {
                return (nil, [try conversion.run { reporter.update($0) }])
            }
            let reports = try conversion.runAttached(
                allPlatforms: allPlatforms,
                copiesImages: arguments.operands.count > 1
            ) { reporter.update($0) }
            return (nil, reports)
        } catch {
            reporter.abandon()
            throw error
        }
    }

    private static func isIndexing(_ arguments: ParsedArguments) -> Bool {
        arguments.text(format) == "zran"
    }

    /// Where the result goes.
    private static func target(_ arguments: ParsedArguments) throws(UsageError) -> ImageName {
        if let directory = arguments.text(indexDirectory) {
            return .layout(directory: directory, tag: nil)
        }
        return try Images.name(arguments.operands[arguments.operands.count - 1])
    }

    /// Refuses options that do not go together.
    private static func check(_ arguments: ParsedArguments) throws(UsageError) {
        if arguments.has(allPlatforms), arguments.has(SharedOptions.platform) {
            throw UsageError("--platform does not go with --all-platforms")
        }
        guard isIndexing(arguments) else {
            for option in [mergeIndex, indexDirectory] where arguments.has(option) {
                throw UsageError("--\(option.name) goes only with --format zran")
            }
            if arguments.operands.count < 2 { throw UsageError("TARGET is missing") }
            return
        }
        for option in [keepOriginal, chunkDictionary, buildCache, prefetchFiles]
        where arguments.has(option) {
            throw UsageError("--\(option.name) does not go with --format zran")
        }
        if arguments.has(indexDirectory), arguments.operands.count > 1 || arguments.has(mergeIndex)
        {
            throw UsageError("--index-dir goes neither with TARGET nor with --merge-index")
        }
        switch try target(arguments) {
        case .layout, .registry: break
        case .archive, .dockerArchive:
            throw UsageError("an archive cannot be added to; use a layout, oci:DIR")
        }
    }

    /// Prints warnings; a list for another image, or a hostile one, may make any number of them.
    private static func warn(_ warnings: [String]) throws {
        let limit = 100
        for warning in warnings.prefix(limit) {
            try StandardStream.error.write(
                "lazypull convert: warning: \(messageText(warning))\n"
            )
        }
        guard warnings.count > limit else { return }
        try StandardStream.error.write(
            "lazypull convert: warning: \(warnings.count - limit) more like these;"
                + " --output json lists all\n"
        )
    }

    /// `4K` for 12, `1M` for 20.
    private static func sizeName(bits: Int) -> String {
        bits < 20 ? "\(1 << (bits - 10))K" : "\(1 << (bits - 20))M"
    }

    /// The list in a file, or on standard input.
    private static func prefetchList(_ file: String) throws -> PrefetchList {
        let isInput = file == "-"
        return try PrefetchList(
            parsing: isInput
                ? try FileSystem.standardInput(limit: PrefetchList.byteLimit)
                : try FileSystem.contents(of: file, limit: PrefetchList.byteLimit),
            document: isInput ? "standard input" : file
        )
    }

    private static func options(
        _ arguments: ParsedArguments,
        _ images: Images
    ) throws -> ConversionOptions {
        let size = chunkSizes.first { $0.name == arguments.text(chunkSize) }
        let chunkByteCount = UInt32(1) << UInt32(size?.bits ?? 20)
        let selection = try SharedOptions.selection(arguments, .converted)
        let dictionary = try ChunkDictionary(
            try arguments.texts(chunkDictionary).map {
                try images.source(try Images.name($0), selection)
            },
            chunkSize: chunkByteCount
        )
        let level = arguments.integer(compressionLevel) ?? 3
        let span = spanSizes.first { $0.name == arguments.text(spanSize) }
        return ConversionOptions(
            threads: SharedOptions.threadCount(arguments),
            chunkSize: chunkByteCount,
            compressionLevel: arguments.text(compressor) == "none" ? nil : Int32(level),
            isStrict: arguments.has(strict),
            limits: LimitOptions.limits(arguments),
            dictionary: dictionary,
            prefetch: try arguments.text(prefetchFiles).map(prefetchList),
            workDirectory: arguments.text(workDirectory)
                ?? CurrentProcess.environment("TMPDIR").flatMap { $0.isEmpty ? nil : $0 }
                ?? "/var/tmp",
            cache: isIndexing(arguments) ? .empty : try cache(arguments, images),
            spanSize: isIndexing(arguments) ? UInt64(1) << UInt64(span?.bits ?? 22) : nil
        )
    }

    /// Layers that the target has already, or an image that is named.
    private static func cache(
        _ arguments: ParsedArguments,
        _ images: Images
    ) throws -> BuildCache {
        let target = try Images.name(arguments.operands[1])
        let selection = try SharedOptions.selection(arguments, .converted)
        return try BuildCache(
            try arguments.texts(buildCache).map {
                try images.source(try Images.name($0), selection)
            },
            // An archive is written anew.
            target: target.isUpdated ? try images.source(target, selection) : nil
        )
    }
}

extension ImageName {
    /// Whether what is written there joins what is there already.
    fileprivate var isUpdated: Bool {
        switch self {
        case .layout, .registry: true
        case .archive, .dockerArchive: false
        }
    }
}
