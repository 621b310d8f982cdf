// SPDX-License-Identifier: Apache-2.0

/// A place to fetch ranges of one blob from: a layout, an archive, a registry.
package protocol BlobSource: Sendable {
    /// The blob's size as stored, in bytes.
    var size: UInt64 { get }

    /// Fetches the range that begins at the offset and fills the buffer.
    ///
    /// Called from several threads at once; may block.
    ///
    /// - Parameters:
    ///   - offset: the first byte wanted, in the blob as stored.
    ///   - buffer: filled whole, or an error is thrown and its content is undefined.
    /// - Throws: `ContentError` if the whole range cannot be had.
    func fetch(
        at offset: CompressedOffset,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError)
}
