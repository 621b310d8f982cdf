// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Content
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
    static func source(_ name: ImageName) -> any ImageSource {
        switch name {
        case .layout(let directory, let tag): OCILayout(directory: directory, tag: tag)
        }
    }

    /// The place of that name, to write to.
    static func destination(_ name: ImageName) -> any ImageDestination {
        switch name {
        case .layout(let directory, let tag): OCILayout(directory: directory, tag: tag)
        }
    }
}
