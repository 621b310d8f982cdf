// SPDX-License-Identifier: Apache-2.0

/// A position in a blob as it is stored and transferred, in bytes from its start.
package struct CompressedOffset: Hashable, Sendable {
    /// The position in bytes.
    package var bytes: UInt64

    /// The position that many bytes from the blob's start.
    package init(_ bytes: UInt64) {
        self.bytes = bytes
    }
}

/// A position in a blob's uncompressed view, in bytes from its start.
///
/// In a RAFS v6 blob every chunk begins at a multiple of 4096 of this view; a backing file holds
/// the view as it is.
package struct UncompressedOffset: Hashable, Sendable {
    /// The position in bytes.
    package var bytes: UInt64

    /// The position that many bytes from the view's start.
    package init(_ bytes: UInt64) {
        self.bytes = bytes
    }
}

extension CompressedOffset: Comparable, CustomStringConvertible {
    package static func < (left: Self, right: Self) -> Bool { left.bytes < right.bytes }

    package var description: String { String(bytes) }
}

extension UncompressedOffset: Comparable, CustomStringConvertible {
    package static func < (left: Self, right: Self) -> Bool { left.bytes < right.bytes }

    package var description: String { String(bytes) }
}
