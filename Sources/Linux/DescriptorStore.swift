// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Keeps open descriptors while the process that serves them is away: a mount lives as long as its
/// descriptor of /dev/fuse is open anywhere.
///
/// A name is the caller's own, and of letters, digits and hyphens. Called from several threads.
package protocol DescriptorStore: Sendable {
    /// What an earlier process has left.
    ///
    /// - Returns: the descriptors, which stay in the store.
    /// - Throws: `SystemError` if the store cannot be asked.
    func inherited() throws(SystemError) -> [StoredDescriptor]

    /// Has a descriptor kept; when this returns, it outlives the process.
    ///
    /// - Parameters:
    ///   - name: its name; another descriptor of the name is kept no more.
    ///   - descriptor: the descriptor, which stays the caller's.
    /// - Throws: `SystemError` if it is not kept.
    func put(_ name: String, _ descriptor: Int32) throws(SystemError)

    /// Has a descriptor kept no more; nothing happens if there is none of the name.
    func remove(_ name: String)
}

/// A descriptor and its name in a store.
package final class StoredDescriptor: Sendable {
    /// The name.
    package let name: String
    private let descriptor: OwnedDescriptor

    /// Takes a descriptor over.
    package init(_ name: String, _ descriptor: consuming OwnedDescriptor) {
        self.name = name
        self.descriptor = descriptor
    }

    /// The descriptor; valid while this object lives.
    package var number: Int32 { descriptor.number }

    /// Another descriptor for the same.
    ///
    /// - Returns: it; the caller's.
    /// - Throws: `SystemError` if the process has no descriptor left.
    package func duplicate() throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.duplicate(of: number, name)
    }
}
