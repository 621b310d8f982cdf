// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import Synchronization

/// A regular file on its way: open until the last part of its content is there.
final class OutputFile: Sendable {
    let descriptor: OwnedDescriptor
    let node: FileTree.Node
    let path: String
    /// Parts that are still to be written.
    private let partsLeft: Atomic<Int>

    init(_ descriptor: consuming OwnedDescriptor, _ node: FileTree.Node, path: String, parts: Int) {
        self.descriptor = descriptor
        self.node = node
        self.path = path
        partsLeft = Atomic(parts)
    }

    /// Takes note that a part is written; after the last one sets the attributes.
    ///
    /// - Throws: `SystemError`.
    func finishPart() throws(SystemError) {
        guard partsLeft.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        try AttributeTarget.open(descriptor.number).set(node, path)
    }
}

extension AttributeTarget {
    /// Sets what a file has besides its content.
    ///
    /// The owner first: changing it drops capabilities and set-user-ID bits. The permissions after
    /// the ACL, whose mask they are; the time last, since writing would change it.
    ///
    /// - Parameters:
    ///   - node: the file.
    ///   - path: its path, for the error.
    /// - Throws: `SystemError`.
    func set(_ node: FileTree.Node, _ path: String) throws(SystemError) {
        let attributes = node.attributes
        do throws(SystemError) {
            try setOwner(user: attributes.userID, group: attributes.groupID)
            for xattr in node.xattrs { try setXattr(xattr.name, xattr.value) }
            if node.type != .symlink { try setPermissions(attributes.permissions) }
            try setModificationTime(
                seconds: attributes.modificationSeconds,
                nanoseconds: attributes.modificationNanoseconds
            )
        } catch {
            throw SystemError(error.call, path, code: error.code)
        }
    }
}
