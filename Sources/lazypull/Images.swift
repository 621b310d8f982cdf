// SPDX-License-Identifier: Apache-2.0

internal import Content
internal import Distribution
internal import OCI

/// Where the names of images on the command line lead.
enum Images {
    /// The image of that name, to read.
    static func source(_ name: String) throws -> any ImageSource {
        switch try ImageName(name) {
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
