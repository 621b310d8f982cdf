// SPDX-License-Identifier: Apache-2.0
//
// Layers: layer streams as trees, and trees of layers folded into one, with whiteouts.

import Content

extension FileTree {
    /// The most symbolic links followed on one path, as the kernel counts them (MAXSYMLINKS).
    private static let maximumLinks = 40

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
        var stack = start
        var pending = Array(components.map { $0 }.reversed())
        var links = 0
        while let name = pending.popLast() {
            let current = stack[stack.count - 1]
            if name.bytes == [0x2e] { continue }
            if name.bytes == [0x2e, 0x2e] {
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            guard let child = self[current].children[name] else {
                guard name.isValid else {
                    throw .corrupt("\(shown()): a file cannot be named \(name)")
                }
                let made = add(.implicitDirectory)
                self[current].children[name] = made
                stack.append(made)
                continue
            }
            switch self[child].type {
            case .directory:
                stack.append(child)
            case .symlink:
                links += 1
                guard links <= Self.maximumLinks else {
                    throw .corrupt("\(shown()): more than \(Self.maximumLinks) symbolic links")
                }
                let target = self[child].target
                if target.first == 0x2f { stack.removeLast(stack.count - 1) }
                pending.append(contentsOf: Self.components(of: target).reversed())
            case let type:
                throw .corrupt("\(shown()): \(name) on the way to it is a \(type)")
            }
        }
        return stack
    }

    /// The names between the slashes of a path; empty ones left out.
    static func components(of path: [UInt8]) -> [FileName] {
        path.split(separator: 0x2f).map { FileName($0) }
    }
}
