// SPDX-License-Identifier: Apache-2.0
//
// Layers: layer streams as trees, and trees of layers folded into one, with whiteouts.

import Content

extension FileTree {
    /// The most symbolic links followed on one path, as the kernel counts them (MAXSYMLINKS).
    private static let maximumLinks = 40

    /// A walk along a path: how far it has come, and what is still before it.
    private struct Walk {
        /// The directories from the root to where the walk is.
        var stack: [NodeID]
        /// Names to come, the next one last.
        var pending: [FileName]
        var links = 0
    }

    /// Walks to a directory, following symbolic links inside the tree and making what is missing.
    ///
    /// As in a chroot, `..` at the root stays there and absolute targets begin there.
    ///
    /// - Parameters:
    ///   - components: the path, relative to `start`.
    ///   - start: the directories from the root to the one to start at, both included.
    ///   - shown: the path for errors.
    /// - Returns: the directories from the root to the one reached.
    /// - Throws: `ContentError` if a component is a file of another type, or links form a loop.
    mutating func directory(
        at components: some Sequence<FileName>,
        from start: [NodeID],
        shown: @autoclosure () -> String
    ) throws(ContentError) -> [NodeID] {
        var walk = Walk(stack: start, pending: components.reversed())
        while let missing = try advance(&walk, shown()) {
            guard missing.isValid else {
                throw .corrupt("\(shown()): a file cannot be named \(missing)")
            }
            let made = add(.implicitDirectory)
            self[walk.stack[walk.stack.count - 1]].children[missing] = made
            walk.stack.append(made)
        }
        return walk.stack
    }

    /// Walks to the directory of a name as `directory(at:)` does, and makes nothing.
    ///
    /// - Parameters:
    ///   - name: the name, in the last directory of `start`.
    ///   - start: the directories from the root to the one to start at, both included.
    /// - Returns: the directories from the root to the one reached; nil if there is none.
    func existingDirectory(at name: FileName, from start: [NodeID]) -> [NodeID]? {
        var walk = Walk(stack: start, pending: [name])
        do throws(ContentError) {
            return try advance(&walk, "") == nil ? walk.stack : nil
        } catch {
            return nil
        }
    }

    /// Goes on to the end of the walk, or to the first name that is missing.
    ///
    /// - Returns: the missing name; nil at the end.
    private func advance(
        _ walk: inout Walk,
        _ shown: @autoclosure () -> String
    ) throws(ContentError) -> FileName? {
        while let name = walk.pending.popLast() {
            if name.bytes == [0x2e] { continue }
            if name.bytes == [0x2e, 0x2e] {
                if walk.stack.count > 1 { walk.stack.removeLast() }
                continue
            }
            let current = walk.stack[walk.stack.count - 1]
            guard let child = self[current].children[name] else { return name }
            switch self[child].type {
            case .directory:
                walk.stack.append(child)
            case .symlink:
                walk.links += 1
                guard walk.links <= Self.maximumLinks else {
                    throw .corrupt("\(shown()): more than \(Self.maximumLinks) symbolic links")
                }
                let target = self[child].target
                if target.first == 0x2f { walk.stack.removeLast(walk.stack.count - 1) }
                walk.pending.append(contentsOf: Self.components(of: target).reversed())
            case let type:
                throw .corrupt("\(shown()): \(name) on the way to it is a \(type)")
            }
        }
        return nil
    }

    /// The names between the slashes of a path; empty ones left out.
    static func components(of path: [UInt8]) -> [FileName] {
        path.split(separator: 0x2f).map { FileName($0) }
    }
}
