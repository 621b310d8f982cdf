// SPDX-License-Identifier: Apache-2.0

/// What a directory and all below it take on storage, as du(1) counts: a file of several names
/// once, holes not at all.
package struct DiskUsage: Equatable, Sendable {
    /// The storage taken, in bytes.
    package var byteCount: UInt64 = 0
    /// Files, directories and all else.
    package var inodeCount: UInt64 = 0

    /// Values that are known.
    package init(byteCount: UInt64, inodeCount: UInt64) {
        self.byteCount = byteCount
        self.inodeCount = inodeCount
    }

    /// Directories deeper than this are not counted: each level costs a descriptor, and what a
    /// path can name ends at half of it.
    private static let depthLimit = 4096

    /// Counts a directory.
    ///
    /// What is mounted in it is left out, and so is what vanishes meanwhile.
    ///
    /// - Parameter path: the directory.
    /// - Throws: `SystemError`.
    package init(ofDirectory path: String) throws(SystemError) {
        let top = try DirectoryStream(path)
        // Only files with several names are remembered: of the others each is seen once.
        var counted: Set<UInt64> = []
        add(try top.status())
        var stack = [top]
        while let directory = stack.last {
            guard let entry = try directory.next() else {
                stack.removeLast()
                continue
            }
            do throws(SystemError) {
                let status = try directory.status(of: entry.name)
                if status.isDirectory {
                    add(status)
                    if stack.count < Self.depthLimit {
                        stack.append(try directory.directory(entry.name))
                    }
                } else if status.linkCount == 1 || counted.insert(status.inode).inserted {
                    add(status)
                }
            } catch  where error.isNotFound || error.isOtherFileSystem {
                continue
            }
        }
    }

    private mutating func add(_ status: FileStatus) {
        byteCount &+= status.allocatedBytes
        inodeCount &+= 1
    }
}
