// SPDX-License-Identifier: Apache-2.0

package import Content

/// Writes extended attributes behind their inode.
package enum XattrEncoder {
    private static let headerSize = 12

    /// Whether RAFS can store the attribute: its prefix has a number, and its name fits.
    package static func canStore(_ xattr: ExtendedAttribute) -> Bool {
        XattrPrefix.split(xattr.name) != nil && xattr.value.count <= Int(UInt16.max)
    }

    /// The size of the attributes on disk, in bytes; 0 if there are none.
    ///
    /// - Parameter xattrs: the attributes.
    /// - Returns: the size.
    /// - Throws: `ContentError` naming the attribute that cannot be stored.
    static func byteCount(_ xattrs: [ExtendedAttribute]) throws(ContentError) -> Int {
        guard !xattrs.isEmpty else { return 0 }
        var size = headerSize
        for xattr in xattrs {
            guard let (_, suffix) = XattrPrefix.split(xattr.name), canStore(xattr) else {
                throw .unsupported("xattr \(escapedText(of: xattr.name)) cannot be stored in RAFS")
            }
            size += (4 + suffix.count + xattr.value.count).roundedUp(toMultipleOf: 4)
        }
        guard size <= headerSize + 4 * (Int(UInt16.max) - 1) else {
            throw ContentError(.limitExceeded, "\(size) bytes of xattrs on one file")
        }
        return size
    }

    /// The attributes' bytes, in the order given.
    static func encode(_ xattrs: [ExtendedAttribute]) -> [UInt8] {
        guard !xattrs.isEmpty else { return [] }
        var bytes = [UInt8](repeating: 0, count: headerSize)
        for xattr in xattrs {
            guard let (prefix, suffix) = XattrPrefix.split(xattr.name) else { continue }
            bytes.append(UInt8(suffix.count))
            bytes.append(prefix.rawValue)
            bytes.appendLittleEndian(UInt16(xattr.value.count))
            bytes.append(contentsOf: suffix)
            bytes.append(contentsOf: xattr.value)
            bytes.padWithZeros(toMultipleOf: 4)
        }
        return bytes
    }
}
