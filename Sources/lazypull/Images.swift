// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
internal import Convert
internal import Distribution
internal import HTTP
internal import Log
internal import OCI

/// Where the names of images on the command line lead.
struct Images {
    private let arguments: ParsedArguments
    private let registries: RegistryAccess

    /// Images as the command line reaches them.
    ///
    /// - Parameters:
    ///   - arguments: the command line, with `RegistryOptions.all` among its options.
    ///   - retry: how failures are dealt with where documents and whole blobs go; nil for as the
    ///     command line says.
    ///   - reads: how they are where a range of a blob is read; likewise.
    ///   - log: takes what went wrong on the way and was mended.
    init(
        _ arguments: ParsedArguments,
        retry: RetryPolicy? = nil,
        reads: RetryPolicy? = nil,
        log: Logger = Logger(level: .warning)
    ) {
        self.arguments = arguments
        let patience = RegistryOptions.patience(arguments)
        registries = RegistryOptions.access(
            arguments,
            retry: retry ?? patience,
            reads: reads ?? patience,
            log: log
        )
    }

    /// The name in a word of the command line.
    ///
    /// - Parameter text: the word.
    /// - Returns: the name.
    /// - Throws: `UsageError` if it names nothing this version can reach.
    static func name(_ text: String) throws(UsageError) -> ImageName {
        do {
            return try ImageName(text)
        } catch {
            throw UsageError(error.message)
        }
    }

    /// The image of that name, to read.
    ///
    /// - Parameters:
    ///   - name: where it is.
    ///   - selection: which image is meant if there are several.
    /// - Returns: the image's source.
    /// - Throws: an error if an archive cannot be read.
    func source(
        _ name: ImageName,
        _ selection: ImageSelection
    ) throws -> any ImageSource {
        switch name {
        case .layout(let directory, let tag):
            return OCILayout(directory: directory, tag: tag, selection: selection)
        case .archive(let file, let tag):
            return try OCIArchive(file: file, tag: tag, selection: selection)
        case .dockerArchive(let file, let tag):
            return try DockerArchive(file: file, tag: tag, selection: selection)
        case .registry(let reference):
            return RegistrySource(reference, selection: selection, registries)
        }
    }

    /// The converted image that the first operand names, or as many of its layers as wanted; of an
    /// ordinary image, the index over its layers.
    ///
    /// The command line has `platform`, `layers` and `indexDirectory` among its options.
    ///
    /// - Returns: the image's source.
    /// - Throws: an error if there is no such image, or its layers cannot be merged.
    func converted() throws -> any ImageSource {
        let image = AttachedIndex(
            try source(
                try Self.name(arguments.operands[0]),
                try SharedOptions.selection(arguments, .converted)
            ),
            directories: [
                arguments.text(SharedOptions.indexDirectory) ?? SharedOptions.indexesOfRoot
            ]
        )
        guard let count = arguments.integer(SharedOptions.layers) else { return image }
        return try LayerPrefix(
            of: image,
            layers: count,
            limits: LimitOptions.limits(arguments)
        )
    }

    /// The place of that name, to write to.
    ///
    /// - Throws: `UsageError` for a transport that is only read; an error if nothing can be made
    ///   there.
    func destination(_ name: ImageName) throws -> any ImageDestination {
        switch name {
        case .layout(let directory, let tag):
            return OCILayout(directory: directory, tag: tag)
        case .archive(let file, let tag):
            return try OCIArchiveWriter(file: file, tag: tag)
        case .registry(let reference):
            return try RegistryDestination(reference, registries)
        case .dockerArchive:
            throw UsageError(
                "docker-archive: is only read; a converted image is no image for Docker"
            )
        }
    }
}
