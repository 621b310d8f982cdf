// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
internal import Convert
internal import Distribution
internal import OCI

/// Where the names of images on the command line lead.
enum Images {
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
    static func source(
        _ name: ImageName,
        _ selection: ImageSelection
    ) throws -> any ImageSource {
        switch name {
        case .layout(let directory, let tag):
            OCILayout(directory: directory, tag: tag, selection: selection)
        case .archive(let file, let tag):
            try OCIArchive(file: file, tag: tag, selection: selection)
        case .dockerArchive(let file, let tag):
            try DockerArchive(file: file, tag: tag, selection: selection)
        }
    }

    /// The converted image that the first operand names, or as many of its layers as wanted.
    ///
    /// - Parameter arguments: the command line, with `platform` and `layers` among its options.
    /// - Returns: the image's source.
    /// - Throws: an error if there is no such image, or its layers cannot be merged.
    static func converted(_ arguments: ParsedArguments) throws -> any ImageSource {
        let image = try source(
            try name(arguments.operands[0]),
            try SharedOptions.selection(arguments, .converted)
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
    static func destination(_ name: ImageName) throws -> any ImageDestination {
        switch name {
        case .layout(let directory, let tag):
            return OCILayout(directory: directory, tag: tag)
        case .archive(let file, let tag):
            return try OCIArchiveWriter(file: file, tag: tag)
        case .dockerArchive:
            throw UsageError(
                "docker-archive: is only read; a converted image is no image for Docker"
            )
        }
    }
}
