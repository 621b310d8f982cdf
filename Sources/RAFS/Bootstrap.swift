// SPDX-License-Identifier: Apache-2.0

package import Content

/// A bootstrap's tree: inodes, names, attributes and chunk slices, straight from the bytes.
///
/// 1. The layout was checked once against these bytes; everything else is checked when it is read.
/// 2. No method traps, loops without end or allocates, whatever the bytes hold, unless its comment
///    says that it copies.
/// 3. The bytes do not change while a view of them exists.
package struct Bootstrap: ~Escapable {
    let bytes: RawSpan
    /// The checked layout.
    package let layout: BootstrapLayout

    /// A view of a bootstrap.
    ///
    /// - Parameters:
    ///   - bytes: the whole bootstrap.
    ///   - layout: the layout read from these very bytes.
    @_lifetime(copy bytes)
    package init(bytes: RawSpan, layout: BootstrapLayout) {
        self.bytes = bytes
        self.layout = layout
    }

    /// The inode of that number.
    ///
    /// - Parameter nid: the inode's number.
    /// - Returns: the inode.
    /// - Throws: `ContentError` if it lies outside the bootstrap or is malformed.
    package func inode(_ nid: UInt64) throws(ContentError) -> Inode {
        let units = UInt64(layout.byteCount - layout.metadataOffset) / 32
        guard nid < units else {
            throw .corrupt("inode \(nid): lies outside of the bootstrap, which has \(units) slots")
        }
        return try Inode(bytes, at: layout.metadataOffset + Int(nid) * 32, nid: nid)
    }

    /// The root directory.
    ///
    /// - Returns: the inode.
    /// - Throws: `ContentError` if it is malformed or no directory.
    package func root() throws(ContentError) -> Inode {
        let inode = try inode(layout.rootNID)
        guard inode.type == .directory else {
            throw .corrupt("inode \(layout.rootNID): the root is a \(inode.type)")
        }
        return inode
    }

    /// The target of a symbolic link, without a terminator.
    ///
    /// - Parameter inode: the link.
    /// - Returns: 1...4095 bytes.
    /// - Throws: `ContentError` if the inode is no link or its target lies outside the bootstrap.
    @_lifetime(copy self)
    package func symlinkTarget(of inode: Inode) throws(ContentError) -> RawSpan {
        guard inode.type == .symlink, inode.size > 0, inode.size < 4096 else {
            throw .corrupt(
                "inode \(inode.nid): a \(inode.type) of \(inode.size) bytes has no target"
            )
        }
        return try block(0, of: inode)
    }

    /// The content of a directory or a link in the block of that number.
    @_lifetime(copy self)
    func block(_ index: UInt64, of inode: Inode) throws(ContentError) -> RawSpan {
        let start = index * UInt64(BootstrapFormat.blockSize)
        guard start < inode.size else {
            throw .corrupt("inode \(inode.nid): block \(index) lies past its end")
        }
        let count = Int(min(UInt64(BootstrapFormat.blockSize), inode.size - start))
        if inode.dataLayout == .inline, count < BootstrapFormat.blockSize {
            // The kernel refuses a tail that leaves its inode's block; so what passes here mounts.
            guard
                inode.offset / BootstrapFormat.blockSize
                    == (inode.tailOffset + count - 1) / BootstrapFormat.blockSize
            else {
                throw .corrupt("inode \(inode.nid): its inline data leaves its block")
            }
            return try bytes.slice(at: inode.tailOffset, count: count)
        }
        let offset = (UInt64(inode.union) + index) * UInt64(BootstrapFormat.blockSize)
        guard offset <= UInt64(layout.byteCount) else {
            throw .corrupt("inode \(inode.nid): block \(index) lies outside of the bootstrap")
        }
        return try bytes.slice(at: Int(offset), count: count)
    }
}
