// SPDX-License-Identifier: Apache-2.0
//
// FUSE: the low-level libfuse session on custom I/O; every request answered exactly once.

/// A read-only file system, as a session asks for it.
///
/// Every method may be called from several threads at once. All but `read` answer at once, from
/// what is at hand: a thread that waits in one of them is missing to all mounts of the process.
///
/// Nodes are named by numbers of the file system's own; the session exchanges the root's number
/// with 1, which the kernel wants for a root, so any number but 0 may be used.
package protocol FuseFilesystem: AnyObject, Sendable {
    /// The root directory's node number.
    var rootNode: UInt64 { get }

    /// Whether any node has extended attributes; if not, the kernel is told to ask never again.
    var hasXattrs: Bool { get }

    /// Looks a name up.
    ///
    /// - Parameters:
    ///   - name: the name's bytes; may be "..".
    ///   - directory: the directory's node number.
    /// - Returns: the attributes of what bears the name; nil if nothing does.
    /// - Throws: `FuseFailure`.
    func lookup(_ name: RawSpan, in directory: UInt64) throws(FuseFailure) -> FuseAttributes?

    /// The attributes of a node.
    ///
    /// - Throws: `FuseFailure`.
    func attributes(of node: UInt64) throws(FuseFailure) -> FuseAttributes

    /// Appends a symbolic link's target, without a terminator.
    ///
    /// - Throws: `FuseFailure`: `invalid` if the node is no link.
    func readSymlink(_ node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure)

    /// Adds a directory's entries, "." and ".." among them, until the buffer is full.
    ///
    /// - Parameters:
    ///   - node: the directory.
    ///   - position: 0 for the first entry, else the position that an earlier entry came with.
    ///   - reply: takes the entries.
    /// - Throws: `FuseFailure`.
    func readDirectory(
        _ node: UInt64,
        from position: UInt64,
        into reply: inout DirectoryBuffer
    ) throws(FuseFailure)

    /// Reads from a file and answers the request, now or, once parked, from another thread.
    ///
    /// If this waits for storage, it leaves the request's `watch` meanwhile.
    ///
    /// - Parameters:
    ///   - node: the file.
    ///   - offset: where to begin, in bytes.
    ///   - buffer: memory of the calling thread for the answer, as long as what is asked for; not
    ///     to be used after the method has returned.
    ///   - request: answered with exactly the bytes asked for, fewer only at the end of the file:
    ///     the kernel takes a short answer for the end.
    func read(
        _ node: UInt64,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer,
        answering request: consuming FuseRequest
    )

    /// Where data or a hole begins.
    ///
    /// - Parameters:
    ///   - node: the file.
    ///   - offset: where to begin to look.
    ///   - seeksHole: look for a hole, the end of the file being one, instead of data.
    /// - Returns: the first such offset that is not less.
    /// - Throws: `FuseFailure`: `pastEnd` if there is none.
    func seek(
        _ node: UInt64,
        from offset: UInt64,
        seeksHole: Bool
    ) throws(FuseFailure) -> UInt64

    /// Appends an extended attribute's value.
    ///
    /// - Throws: `FuseFailure`: `noAttribute` if the node has none of that name.
    func readXattr(
        _ name: RawSpan,
        of node: UInt64,
        into reply: inout ReplyBuffer
    ) throws(FuseFailure)

    /// Appends the names of a node's extended attributes, each ended by a zero byte.
    ///
    /// - Throws: `FuseFailure`.
    func listXattrs(of node: UInt64, into reply: inout ReplyBuffer) throws(FuseFailure)

    /// What statfs tells.
    func statistics() -> FuseStatistics
}

/// What stat(2) tells of a node.
package struct FuseAttributes: Equatable, Sendable {
    /// The node's number, also its inode number in stat; 0 is refused.
    package var node: UInt64
    /// Type and permission bits.
    package var mode: UInt32
    /// The number of names.
    package var linkCount: UInt32
    /// The owner's user id.
    package var userID: UInt32
    /// The owner's group id.
    package var groupID: UInt32
    /// The device of a device node, in the kernel's 32-bit encoding; 0 for others.
    package var device: UInt32
    /// The size in bytes.
    package var size: UInt64
    /// Modification time, which stands for access and change time too: whole seconds.
    package var modificationSeconds: Int64
    /// The rest of the modification time in nanoseconds: 0..<1_000_000_000.
    package var modificationNanoseconds: UInt32

    /// Attributes with the values.
    package init(
        node: UInt64,
        mode: UInt32,
        linkCount: UInt32 = 1,
        userID: UInt32 = 0,
        groupID: UInt32 = 0,
        device: UInt32 = 0,
        size: UInt64 = 0,
        modificationSeconds: Int64 = 0,
        modificationNanoseconds: UInt32 = 0
    ) {
        self.node = node
        self.mode = mode
        self.linkCount = linkCount
        self.userID = userID
        self.groupID = groupID
        self.device = device
        self.size = size
        self.modificationSeconds = modificationSeconds
        self.modificationNanoseconds = modificationNanoseconds
    }
}

/// What statfs(2) tells of a file system; nothing of it is free.
package struct FuseStatistics: Sendable {
    /// The size of all contents, in bytes.
    package var size: UInt64
    /// The number of files.
    package var fileCount: UInt64

    /// Statistics with the values.
    package init(size: UInt64, fileCount: UInt64) {
        self.size = size
        self.fileCount = fileCount
    }
}
