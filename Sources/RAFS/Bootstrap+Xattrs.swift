// SPDX-License-Identifier: Apache-2.0

package import Content

/// The prefixes of extended attributes' names that EROFS has a number for.
package enum XattrPrefix: UInt8, Sendable, CaseIterable {
    case user = 1
    case aclAccess = 2
    case aclDefault = 3
    case trusted = 4
    case security = 6

    /// The text that the number stands for; the ACL names have nothing after it.
    package var text: StaticString {
        switch self {
        case .user: "user."
        case .aclAccess: "system.posix_acl_access"
        case .aclDefault: "system.posix_acl_default"
        case .trusted: "trusted."
        case .security: "security."
        }
    }

    /// Splits a full name into prefix and rest; nil if no number stands for its beginning, or the
    /// rest is longer than a dirent can say.
    package static func split(_ name: [UInt8]) -> (prefix: XattrPrefix, suffix: ArraySlice<UInt8>)?
    {
        for prefix in allCases {
            let text = Array(prefix.text.description.utf8)
            let isWhole = prefix == .aclAccess || prefix == .aclDefault
            guard isWhole ? name == text : name.starts(with: text) && name.count > text.count else {
                continue
            }
            let suffix = name.dropFirst(text.count)
            return suffix.count <= 255 ? (prefix, suffix) : nil
        }
        return nil
    }
}

extension Bootstrap {
    /// Calls the body for every extended attribute of an inode, in stored order.
    ///
    /// - Parameters:
    ///   - inode: the inode.
    ///   - body: gets the name's prefix, the rest of the name and the value; returns false to stop.
    /// - Throws: `ContentError` if the attributes are malformed; what the body throws.
    package func forEachXattr(
        of inode: Inode,
        _ body: (XattrPrefix, RawSpan, RawSpan) throws(ContentError) -> Bool
    ) throws(ContentError) {
        guard inode.hasXattrs else { return }
        let area = try bytes.slice(at: inode.xattrOffset, count: inode.xattrByteCount)
        guard try area.littleEndian(UInt8.self, at: 4) == 0 else {
            throw .corrupt("inode \(inode.nid): shared xattrs, which RAFS does not have")
        }
        var offset = 12
        while offset < area.byteCount {
            let suffixCount = Int(try area.littleEndian(UInt8.self, at: offset))
            let index = try area.littleEndian(UInt8.self, at: offset + 1)
            let valueCount = Int(try area.littleEndian(UInt16.self, at: offset + 2))
            guard let prefix = XattrPrefix(rawValue: index) else {
                throw .corrupt("inode \(inode.nid): xattr prefix \(index) is not known")
            }
            let suffix = try area.slice(at: offset + 4, count: suffixCount)
            let value = try area.slice(at: offset + 4 + suffixCount, count: valueCount)
            guard try body(prefix, suffix, value) else { return }
            offset = (offset + 4 + suffixCount + valueCount).roundedUp(toMultipleOf: 4)
        }
    }

    /// A copy of every extended attribute of an inode, ascending by name.
    ///
    /// - Parameter inode: the inode.
    /// - Returns: the attributes.
    /// - Throws: `ContentError` if the attributes are malformed.
    package func xattrs(of inode: Inode) throws(ContentError) -> [ExtendedAttribute] {
        var result: [ExtendedAttribute] = []
        try forEachXattr(of: inode) { (prefix, suffix, value) throws(ContentError) in
            result.append(
                ExtendedAttribute(
                    name: Array(prefix.text.description.utf8)
                        + (try suffix.bytes(at: 0, count: suffix.byteCount)),
                    value: try value.bytes(at: 0, count: value.byteCount)
                )
            )
            return true
        }
        result.sort { $0.name.lexicographicallyPrecedes($1.name) }
        for (first, second) in zip(result, result.dropFirst()) where first.name == second.name {
            throw .corrupt("inode \(inode.nid): two xattrs \(escapedText(of: first.name))")
        }
        return result
    }
}
