// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI

/// The space that a conversion takes beside its target while it runs.
package struct SpoolNeed: Sendable, Equatable {
    /// The directory.
    package var directory: String
    /// How many bytes, by an estimate on the safe side.
    package var bytes: UInt64
    /// How many bytes are free there.
    package var available: UInt64

    /// The need of layers whose chunks are all spooled.
    ///
    /// They have about what the layers have. An eighth is added for layers that are compressed
    /// harder than chunks are; chunks that are not compressed at all are taken to be three times
    /// as large as layers that are.
    ///
    /// - Parameters:
    ///   - layers: the source's layers.
    ///   - isCompressed: whether chunks are compressed.
    ///   - directory: where.
    /// - Throws: `SystemError` if the directory is not there.
    init(
        of layers: [Descriptor],
        isCompressed: Bool,
        in directory: String
    ) throws(SystemError) {
        self.directory = directory
        bytes = layers.reduce(0) { sum, layer in
            let isTar = isCompressed || layer.mediaType == .layer
            // A size is below 2^63; the sum of hostile ones may still be anything.
            let size = isTar ? layer.size &+ layer.size / 8 : layer.size.multiplied(by: 3)
            let (total, overflow) = sum.addingReportingOverflow(size)
            return overflow ? .max : total
        }
        available = try FileSystem.availableBytes(at: directory)
    }

    /// Refuses a directory without room.
    ///
    /// - Throws: `SystemError` (no space) naming the directory and the numbers.
    func check() throws(SystemError) {
        guard bytes > available else { return }
        throw SystemError.noSpace(
            "spool \(bytes) bytes",
            "in \(directory), where \(available) are free (--work-dir names another place)"
        )
    }
}

extension UInt64 {
    /// The product, or the largest number if that is too large.
    fileprivate func multiplied(by factor: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
