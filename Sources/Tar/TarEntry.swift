// SPDX-License-Identifier: Apache-2.0
//
// Tar: entries of tar archives in and out, as POSIX.1-2017 (pax), GNU tar and Go's archive/tar,
// which writes most image layers, define them. Bytes in, values out.

package import Content

/// One entry of an archive: what it says of one file.
package struct TarEntry: Sendable, Equatable {
    /// What an entry makes.
    package enum Kind: Sendable {
        case regular
        /// Another name of the file that `linkTarget` names in the same archive, or below it.
        case hardLink
        case symlink
        case characterDevice
        case blockDevice
        case directory
        case fifo
    }

    /// The path as recorded: raw bytes, neither cleaned nor checked; may be absolute, hold `..`
    /// or end in slashes.
    package var path: [UInt8]
    /// What the entry makes.
    package var kind: Kind
    /// Where a hard or symbolic link leads, as recorded; else empty or without meaning.
    package var linkTarget: [UInt8]
    /// Permissions, owner and time.
    package var attributes: FileAttributes
    /// A device's number; 0:0 for everything else.
    package var device: DeviceNumber
    /// The number of bytes of content that follow; 0 for everything but regular files.
    package var size: UInt64
    /// Whether the archive holds less of the content than that: what is not stored are zeros.
    package var hasHoles = false
    /// Extended attributes, ascending by name, each name once.
    package var xattrs: [ExtendedAttribute]
}
